"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def atomic_file(out: Path) -> Iterator[Path]:
    """A path `<out>.part` to write, renamed to `out` at the end; removed if writing fails."""
    part = out.with_name(out.name + ".part")
    out.parent.mkdir(parents=True, exist_ok=True)
    part.unlink(missing_ok=True)
    with _cleared_on_failure(out, lambda: part.unlink(missing_ok=True)):
        yield part
        part.replace(out)


@contextlib.contextmanager
def atomic_folder(out: Path) -> Iterator[Path]:
    """A folder `<out>.part` to fill, renamed to `out` at the end; removed if filling it fails."""
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    with _cleared_on_failure(out, lambda: shutil.rmtree(part, ignore_errors=True)):
        yield part
        publish_folder(part, out)


def publish_folder(part: Path, out: Path) -> None:
    """Rename `part` to `out`, in place of what stood there."""
    if out.exists():
        old = out.with_name(out.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        out.rename(old)
        part.rename(out)
        shutil.rmtree(old)
    else:
        part.rename(out)


def write_text(path: Path, text: str) -> None:
    """Write a text so that a reader sees the old or the new content, never a part."""
    with atomic_file(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any, mode: int = 0o644) -> None:
    """Write JSON as `write_text` does; several processes may write the same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(json.dumps(value, indent=1) + "\n")
    part.replace(path)


def read_json(path: Path) -> Any | None:
    """The JSON value of a file, or None if it is missing or unreadable."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


@contextlib.contextmanager
def _cleared_on_failure(out: Path, clear: Callable[[], None]) -> Iterator[None]:
    """Clears up if the block fails; a full disk without a file's name becomes an error that names `out`."""
    try:
        yield
    except BaseException as error:
        clear()
        if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
            raise OSError(errno.ENOSPC, f"the disk is full, make room and run again: {out}") from error
        raise
