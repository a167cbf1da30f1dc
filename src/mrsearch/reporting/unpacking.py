"""The files of an archive from anybody: regular ones with plain names, in bounded room, and nothing of them is run.

`tarfile` unpacks for us nowhere: links, devices, sparse files and extended headers are how an archive reaches outside
its folder or fills a disk, and bundles hold none. Only its parser of single headers is used.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import tarfile
import zlib
from pathlib import Path
from typing import Any

from mrsearch.durable import create_exclusively

MOST_FILES = 20_000
MOST_BYTES = 1 << 30
"""Of all files together, unpacked; metrics of a large study take a tenth of it."""
MOST_MANIFEST_BYTES = 1 << 24
MOST_CELLS = 200_000_000
"""Rows times columns of one parquet file: a few bytes can stand for any number of equal rows."""
CHUNK = 1 << 20
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+")
LONGEST_NAME = 255
FILES, FOLDER = (tarfile.REGTYPE, tarfile.AREGTYPE), tarfile.DIRTYPE
DAMAGED = (OSError, EOFError, zlib.error, tarfile.HeaderError)
"""What reading an archive that is none, or was cut, ends in."""


def unpack(bundle: Path, target: Path) -> Path:
    """Write the files of a gzipped tar below `target`, a folder of this process alone; returns the one folder in it.

    ValueError, with the name of the entry, for anything but a regular file, a name that is not plain or stands there
    twice, and an archive that is damaged, too large or of several folders.
    """
    tops: set[str] = set()
    count, room = 0, MOST_BYTES
    try:
        with gzip.open(bundle, "rb") as stream:
            while (entry := _next_entry(stream)) is not None:
                if entry.type == FOLDER and not entry.size:
                    continue
                count, room = count + 1, room - entry.size
                _check(entry, count, room)
                _write(stream, entry, target)
                tops.add(entry.name.partition("/")[0])
    except DAMAGED as error:
        raise ValueError(f"{bundle}: cannot be unpacked: {error}") from error
    except ValueError as error:
        raise ValueError(f"{bundle}: is refused: {error}") from error
    if len(tops) != 1:
        raise ValueError(f"{bundle}: is refused: it holds {len(tops)} folders, a bundle holds one")
    return target / tops.pop()


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of an unpacked bundle, with `files` (sha256 by name) and `packages` (version by name); ValueError
    where it is none."""
    if not path.is_file():
        raise ValueError(f"holds no {path.name}: it was not made by `mrsearch bundle`")
    if path.stat().st_size > MOST_MANIFEST_BYTES:
        raise ValueError(f"{path.name} has {path.stat().st_size:,} bytes, at most {MOST_MANIFEST_BYTES:,} are read")
    try:
        manifest = json.loads(path.read_bytes())
        files, packages = manifest["files"], manifest["packages"]
        sound = all(
            re.fullmatch(r"[0-9a-f]{64}", value) and NAME.fullmatch(f"x/{name}") for name, value in files.items()
        )
        sound &= all(re.fullmatch(r"[A-Za-z0-9._+!-]{1,64}", text) for item in packages.items() for text in item)
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path.name} cannot be read: {error!r:.200}") from error
    if not sound:
        raise ValueError(f"{path.name} names files, hashes or packages that are none")
    return {"files": files, "packages": packages}


def check_tables(folder: Path) -> None:
    """ValueError for a parquet file below `folder` that would become larger than memory allows, or is none."""
    import pyarrow
    import pyarrow.parquet as parquet

    for path in sorted(folder.rglob("*.parquet")):
        try:
            facts = parquet.read_metadata(path)
        except (pyarrow.ArrowException, OSError) as error:
            raise ValueError(f"{path.relative_to(folder)}: is no parquet file: {error}") from error
        groups = [facts.row_group(number) for number in range(facts.num_row_groups)]
        rows = max(facts.num_rows, sum(group.num_rows for group in groups))
        if rows * facts.num_columns > MOST_CELLS or sum(group.total_byte_size for group in groups) > MOST_BYTES:
            raise ValueError(f"{path.relative_to(folder)}: {rows:,} rows of {facts.num_columns} columns are too many")


def _next_entry(stream: gzip.GzipFile) -> tarfile.TarInfo | None:
    """The next header; None at the end of the archive."""
    block = stream.read(tarfile.BLOCKSIZE)
    if not block.strip(b"\0"):
        return None
    return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")


def _check(entry: tarfile.TarInfo, count: int, room: int) -> None:
    if entry.type not in FILES:
        raise ValueError(f"{entry.name!r:.300} is no regular file")
    if len(entry.name) > LONGEST_NAME or not NAME.fullmatch(entry.name):
        raise ValueError(f"{entry.name!r:.300} is not the name of a file in the bundle's folder")
    if entry.size < 0 or room < 0:
        raise ValueError(f"with {entry.name!r} its files have more than {MOST_BYTES:,} bytes")
    if count > MOST_FILES:
        raise ValueError(f"it holds more than {MOST_FILES:,} files")


def _write(stream: gzip.GzipFile, entry: tarfile.TarInfo, target: Path) -> None:
    out, bytes_left = target / entry.name, entry.size
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        descriptor = create_exclusively(out)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise ValueError(f"{entry.name!r} stands there twice") from error
    with os.fdopen(descriptor, "wb") as file:
        while bytes_left:
            if not (chunk := stream.read(min(CHUNK, bytes_left))):
                raise EOFError(f"{entry.name} is cut short")
            file.write(chunk)
            bytes_left -= len(chunk)
    stream.read(-entry.size % tarfile.BLOCKSIZE)
