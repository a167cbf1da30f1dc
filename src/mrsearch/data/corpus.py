"""Reading corpora: jsonl, gzipped jsonl, and the gzipped tar in which wiki-18 is published."""

from __future__ import annotations

import codecs
import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import orjson

GZIP_MAGIC = b"\x1f\x8b"
TAR_MAGIC = (257, b"ustar")
"""Offset and bytes that mark a tar archive (POSIX.1-1988)."""


def parse_contents(contents: str) -> tuple[str, str]:
    """Title and text of a `contents` field: the first line is the title, with the quotes that it may have.

    >>> parse_contents('"Kafka (band)"\\nA band.')
    ('"Kafka (band)"', 'A band.')
    """
    title, _, text = contents.partition("\n")
    return title.strip(), text.strip()


def format_contents(title: str, text: str) -> str:
    """The `contents` field of a passage: `parse_contents` gives title and text back."""
    return f"{title}\n{text}"


def read_corpus(path: Path) -> Iterator[tuple[str, str, str]]:
    """Stream (id, title, text) of every passage, in order.

    The file may be jsonl, gzipped jsonl, or a gzipped tar of jsonl files; rows are `{"id", "contents"}` or
    `{"id", "title", "text"}`. A malformed row or a cut-off file is a ValueError that names file and line.
    """
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == GZIP_MAGIC
        if zipped and _is_tar(path):
            yield from _read_tar(path)
        elif zipped:
            with gzip.open(path, "rb") as lines:
                yield from _read_lines(lines, str(path))  # type: ignore[arg-type]
        else:
            with path.open("rb") as lines:
                yield from _read_lines(lines, str(path))
    except (EOFError, zlib.error, tarfile.ReadError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: the archive is damaged or cut off ({error}): download it again") from error


def _is_tar(path: Path) -> bool:
    offset, magic = TAR_MAGIC
    with gzip.open(path, "rb") as unpacked:
        return unpacked.read(offset + len(magic))[offset:] == magic


def _read_tar(path: Path) -> Iterator[tuple[str, str, str]]:
    empty_ = False
    with tarfile.open(path, "r|gz") as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(".jsonl"):
                empty_ = True
                stream = archive.extractfile(member)
                assert stream is not None
                yield from _read_lines(io.BufferedReader(stream, 1 << 20), f"{path} ({member.name})")  # type: ignore[type-var]
    if not empty_:
        raise ValueError(f"{path}: a gzipped tar without a .jsonl file in it: expected the passages of a corpus")


def _read_lines(lines: BinaryIO, where: str) -> Iterator[tuple[str, str, str]]:
    number = rows = 0
    try:
        for line in lines:
            number += 1
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if line.strip():
                rows += 1
                yield _passage(orjson.loads(line))
    except (EOFError, zlib.error) as error:
        raise ValueError(f"{where}, after line {number}: the file is damaged ({error}): download it again") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{where}, line {number}: not a passage: {_reason(error)}") from error
    if not rows:
        raise ValueError(f"{where}: holds no passage: a corpus needs at least one")


def _reason(error: Exception) -> str:
    return f"the key {error} is missing" if isinstance(error, KeyError) else str(error)


def _passage(row: Any) -> tuple[str, str, str]:
    if not isinstance(row, dict):
        raise TypeError(f"holds {type(row).__name__}, not an object")
    identifier = row["id"]
    if isinstance(identifier, bool) or not isinstance(identifier, str | int):
        raise TypeError(f"id ({identifier!r}) must be a string or an integer")
    if "contents" in row:
        title, text = parse_contents(_text(row, "contents"))
    else:
        title, text = _text(row, "title").strip(), _text(row, "text").strip()
    return str(identifier), title, text


def _text(row: dict[str, Any], key: str) -> str:
    value = row[key]
    if not isinstance(value, str):
        raise TypeError(f"{key} must be a string, not {type(value).__name__}")
    return value
