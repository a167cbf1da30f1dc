"""What a finished folder or file holds, written down last, so that a later reader can tell whether it still does."""

from __future__ import annotations

import hashlib
import json
import logging
import zipfile
from pathlib import Path
from typing import Any

from mrsearch.durable import sync_folder
from mrsearch.files import file_sha256, read_json, write_json

log = logging.getLogger(__name__)
SEAL, SAMPLES = "sealed.json", "samples.json"
BLOCKS, BLOCK_BYTES = 64, 1 << 16
WHOLE_BYTES = BLOCKS * BLOCK_BYTES
"""Of a file larger than all these blocks, so many are looked at, evenly spread from its first byte to its last."""


def seal(folder: Path) -> None:
    """Bring a folder to the disk and write down the size and the sampled hash of each of its files."""
    sync_folder(folder)
    write_json(folder / SEAL, {name: facts(folder / name) for name in _names(folder)})


def facts(path: Path) -> dict[str, Any]:
    """Size and `sampled_sha256` of a file."""
    return {"bytes": path.stat().st_size, "sampled_sha256": sampled_sha256(path)}


def sampled_sha256(path: Path) -> str:
    """sha256 of a file of up to 4 MiB, and of evenly spread blocks of a larger one: of a few megabytes, whatever its
    size."""
    size, total = path.stat().st_size, hashlib.sha256()
    if size <= WHOLE_BYTES:
        return file_sha256(path)
    with path.open("rb") as file:
        for number in range(BLOCKS):
            file.seek(number * (size - BLOCK_BYTES) // (BLOCKS - 1))
            total.update(file.read(BLOCK_BYTES))
    return total.hexdigest()


def write_samples(folder: Path) -> None:
    """Write down the sampled hashes of the files of a folder that describes itself otherwise."""
    write_json(folder / SAMPLES, {name: sampled_sha256(folder / name) for name in _names(folder)})


def read_samples(folder: Path) -> dict[str, str]:
    """The sampled hashes that `write_samples` left, by name; empty where it left none."""
    samples = read_json(folder / SAMPLES)
    return samples if isinstance(samples, dict) else {}


def is_as_written(path: Path, size: int, sample: str | None) -> bool:
    """Whether a file has its size and, where one was taken, its sampled hash."""
    if not path.is_file() or path.stat().st_size != size:
        return False
    return sample is None or sampled_sha256(path) == sample


def damage(folder: Path) -> str | None:
    """Why a folder is not what was sealed, or None. Where it was never sealed, as after a crash between its last byte
    and its seal, empty files, archives of tensors that were cut and unreadable JSON tell."""
    if not folder.is_dir():
        return f"{folder}: is no folder"
    sealed = read_json(folder / SEAL)
    if sealed is None and (folder / SEAL).exists():
        return f"{folder / SEAL}: is cut short"
    if sealed is None:
        return next((f"{folder / name}: is cut short" for name in _names(folder) if _is_cut(folder / name)), None)
    for name, expected in sealed.items():
        path = folder / name
        if not path.is_file():
            return f"{path}: is missing"
        if facts(path) != expected:
            return f"{path}: is not the file that was written ({path.stat().st_size} bytes)"
    return None


def seal_file(path: Path, content: Path, count: int) -> None:
    """Write down beside `path` the size, the hash and the number of rows of what is, or becomes, its content."""
    write_json(_seal_of(path), _measured(content, count))


def is_sealed(path: Path, count: int | None = None) -> bool:
    """Whether a file is what `seal_file` saw, with `count` rows where that is known; of one that is there and is not,
    a warning says that it is made again."""
    if not path.is_file():
        return False
    sealed = read_json(_seal_of(path))
    rows = sealed.get("rows") if isinstance(sealed, dict) else None
    if rows is not None and count in (None, rows) and sealed == _measured(path, rows):
        return True
    log.warning("%s: is not the whole file that was written: it is made again", path)
    return False


def _measured(path: Path, count: int) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": file_sha256(path), "rows": count}


def _seal_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.{SEAL}")


def _names(folder: Path) -> list[str]:
    files = [path for path in folder.rglob("*") if path.is_file() and path not in (folder / SEAL, folder / SAMPLES)]
    return sorted(path.relative_to(folder).as_posix() for path in files)


def _is_cut(path: Path) -> bool:
    if path.suffix == ".pt":
        return not zipfile.is_zipfile(path)
    if path.suffix == ".json":
        try:
            json.loads(path.read_bytes())
        except ValueError:
            return True
    return path.stat().st_size == 0
