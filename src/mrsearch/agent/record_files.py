"""Files of meta-episodes: zstandard frames of JSON lines and arrays, which any program reads that knows the two.

The first frame names format and version. Each of the others begins with the pieces of the tokens that its records leave
texts out for, so that it can be read alone, goes on with up to FRAME records, a line each, and ends with their tokens
and log-probabilities; the last one counts all records. The same records give the same bytes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import orjson
import zstandard

from mrsearch.agent.pieces import Pieces, UsedPieces, read_pieces
from mrsearch.agent.record_arrays import ReadArrays, WrittenArrays
from mrsearch.agent.record_lines import from_line, to_line
from mrsearch.agent.records import MetaEpisode
from mrsearch.files import atomic_file
from mrsearch.seal import seal_file

FORMAT, VERSION = "mrsearch.records", 3
READABLE = (2, VERSION)
"""Version 2 differs in that tokens and log-probabilities stood in the lines."""
FIRST_FRAME, FRAME = 64, 512
"""Records in the first frame, which is small for those who read no further, and in the largest ones."""
LEVEL = 2
"""Of compression: higher ones take half as long again and more for a fiftieth of the bytes."""
GZIP = b"\x1f\x8b"
"""How files of version 1 begin, which were gzipped lines."""
CONVERT = "convert it with `mrsearch records convert`"


def write_records(path: Path, records: Iterable[MetaEpisode], pieces: Pieces | None = None) -> int:
    """Write records atomically, equal records as equal bytes; returns the count. With the `pieces` of the tokenizer
    that made the tokens, texts that follow from tokens are left out."""
    with atomic_file(path) as draft:
        return _pack(draft, records, pieces)


def write_sealed_records(path: Path, records: Iterable[MetaEpisode], pieces: Pieces | None = None) -> int:
    """`write_records`, and beside the file what `seal.is_sealed` knows a whole one by. The seal comes first: whoever is
    interrupted between the two leaves no file."""
    with atomic_file(path) as draft:
        count = _pack(draft, records, pieces)
        seal_file(path, draft, count)
    return count


def read_records(path: Path) -> Iterator[MetaEpisode]:
    """The records of a file that `write_records` wrote. ValueError names the file where it is of another version, and
    the record where it is broken or was cut."""
    count = 0
    with path.open("rb") as file:
        frames = _frames(file, path)
        _check_header(next(frames, b""), path)
        for frame in frames:
            opening, content = _opened(frame)
            if opening is None:
                raise ValueError(f"{path}: the frame after record {count} does not begin as frames do")
            if "records" in opening:
                if opening["records"] != count:
                    raise ValueError(f"{path}: holds {count} of {opening['records']} records: it was cut")
                return
            try:
                for record in _records(opening, content):
                    count += 1
                    yield record
            except (ValueError, KeyError, TypeError, IndexError) as error:
                raise ValueError(f"{path}, record {count + 1}: not a meta-episode: {error}") from error
    raise ValueError(f"{path}: damaged after record {count}: it was cut")


def _records(opening: dict[str, Any], content: bytes) -> Iterator[MetaEpisode]:
    """The records behind the opening line of a frame."""
    pieces, arrays, lines = read_pieces(opening), None, content
    if "line_bytes" in opening:
        size = int(opening["line_bytes"])
        lines, arrays = content[:size], ReadArrays(content[size:], opening)
    for line in lines.splitlines():
        yield from_line(line, pieces, arrays)
    if arrays is not None:
        arrays.check_all_taken()


def _pack(path: Path, records: Iterable[MetaEpisode], pieces: Pieces | None) -> int:
    compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
    stream, count, size = iter(records), 0, FIRST_FRAME
    with path.open("wb") as file:
        file.write(compressor.compress(_line({"format": FORMAT, "version": VERSION})))
        while batch := list(itertools.islice(stream, size)):
            file.write(compressor.compress(_frame(batch, pieces)))
            count, size = count + len(batch), min(2 * size, FRAME)
        file.write(compressor.compress(_line({"records": count})))
    return count


def _frame(records: Sequence[MetaEpisode], pieces: Pieces | None) -> bytes:
    used, arrays = None if pieces is None else UsedPieces(pieces), WrittenArrays()
    lines = b"\n".join([*(to_line(record, used, arrays) for record in records), b""])
    opening = {"token_ids": [], "pieces": []} if used is None else used.content()
    return _line({**opening, "line_bytes": len(lines), **arrays.counts()}) + lines + arrays.content()


def _line(content: dict[str, Any]) -> bytes:
    return orjson.dumps(content) + b"\n"


def _opened(frame: bytes) -> tuple[dict[str, Any] | None, bytes]:
    """The mapping of a frame's first line, None where that is none, and what stands behind it."""
    header, _, content = frame.partition(b"\n")
    return _mapping(header), content


def _mapping(line: bytes) -> dict[str, Any] | None:
    """The JSON object of a line, or None."""
    try:
        content = orjson.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _frames(file: IO[bytes], path: Path) -> Iterator[bytes]:
    """The content of each frame; ValueError where one is not whole."""
    number, unread = 0, b""
    while True:
        decompressor = zstandard.ZstdDecompressor().decompressobj()
        content = bytearray()
        try:
            while not decompressor.eof:
                unread = unread or file.read(1 << 20)
                if not unread:
                    break
                content += decompressor.decompress(unread)
                unread = decompressor.unused_data if decompressor.eof else b""
        except zstandard.ZstdError as error:
            _check_older(path)
            raise ValueError(f"{path}: frame {number} is damaged: {error}") from error
        if not decompressor.eof:
            if content or number == 0:
                raise ValueError(f"{path}: frame {number} is damaged: it was cut")
            return
        yield bytes(content)
        number += 1


def _check_older(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(len(GZIP)) == GZIP:
            raise ValueError(f"{path}: is of version 1 of records, and this program reads {_versions()}: {CONVERT}")


def _versions() -> str:
    return " and ".join(map(str, READABLE))


def _check_header(line: bytes, path: Path) -> None:
    header = _mapping(line)
    if header is None or header.get("format") != FORMAT:
        raise ValueError(f"{path}: is no file of records: name one that an evaluation or a training wrote")
    if header.get("version") not in READABLE:
        raise ValueError(
            f"{path}: is of version {header.get('version')!r} of records, and this program reads "
            f"{_versions()}: use the program that wrote it"
        )
