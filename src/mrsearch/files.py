"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mrsearch.durable import create_exclusively, open_own, sync_file, sync_folder, sync_names

PUBLISHERS = 10
"""How many processes may put a folder in one place at the same moment."""
ABANDONED_SECONDS = 3 * 86400.0
"""Unchanged for so long, the unfinished output of another machine's process is left over."""


@contextlib.contextmanager
def atomic_file(out: Path) -> Iterator[Path]:
    """A path of this writer's alone, `<out>.<writer>.part`, renamed to `out` at the end; removed if writing fails.

    The file is made before the block, under a name that nobody can guess and never through a link, and its bytes are on
    the disk before the rename: after a crash `out` is the old file or the new one, whole. OSError where something that
    is no file took its place.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft(out)
    os.close(create_exclusively(draft))
    with _cleared_on_failure(out, lambda: draft.unlink(missing_ok=True)):
        yield draft
        _publish_file(draft, out)


@contextlib.contextmanager
def atomic_folder(out: Path) -> Iterator[Path]:
    """A folder of this writer alone, `<out>.<writer>.part`, renamed to `out` at the end; removed if that fails."""
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft(out)
    draft.mkdir()
    with _cleared_on_failure(out, lambda: shutil.rmtree(draft, ignore_errors=True)):
        yield draft
        publish_folder(draft, out)


def publish_folder(draft: Path, out: Path) -> None:
    """Bring `draft` to the disk and rename it to `out`, in place of what stood there; of several at once the last one
    stays."""
    sync_folder(draft)
    for _ in range(PUBLISHERS):
        try:
            _replace(draft, out)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
        else:
            return sync_names(out.parent)
    raise OSError(errno.EEXIST, "other processes keep putting something here: end them, and run again", str(out))


def publish_link(source: Path, out: Path) -> None:
    """`source` at `out` too, at once: a link to the same bytes where the disk allows it, else a copy."""
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft(out)
    with _cleared_on_failure(out, lambda: draft.unlink(missing_ok=True)):
        try:
            os.link(source, draft)
        except OSError:
            with os.fdopen(create_exclusively(draft), "wb") as copy, source.open("rb") as original:
                shutil.copyfileobj(original, copy)
        _publish_file(draft, out)


def write_text(path: Path, text: str, mode: int = 0o666) -> None:
    """Write a text so that a reader sees the old or the new content, never a part; `mode` is cut by the umask."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft(path)
    descriptor = create_exclusively(draft, mode)
    with _cleared_on_failure(path, lambda: draft.unlink(missing_ok=True)):
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        _publish_file(draft, path)


def write_json(path: Path, value: Any, mode: int = 0o644) -> None:
    """Write JSON as `write_text` does; several processes may write the same file."""
    write_text(path, json.dumps(value, indent=1) + "\n", mode)


def read_json(path: Path) -> Any | None:
    """The JSON value of a file, or None if it is missing or unreadable."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def json_object(path: Path, remedy: str) -> dict[str, Any]:
    """The JSON mapping of a file; ValueError, which ends with the remedy, where it is unreadable or something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is not JSON ({error}): {remedy}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: holds a {type(value).__name__}, not a JSON object: {remedy}")
    return value


def read_own_json(path: Path) -> dict[str, Any]:
    """The JSON mapping of a file that says what this user's processes run; empty where it is missing or unreadable.

    PermissionError where it belongs to another user: what it says could end, or start, anything of this one's.
    """
    try:
        owner = path.stat().st_uid
    except OSError:
        return {}
    if owner not in (os.getuid(), 0) and os.getuid() != 0:
        advice = "remove it, or use a folder of your own"
        raise PermissionError(errno.EPERM, f"belongs to user {owner}, and is not believed: {advice}", str(path))
    value = read_json(path)
    return value if isinstance(value, dict) else {}


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def last_lines(path: Path, count: int = 25) -> str:
    """The end of a log for an error message, below a line that names the file."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    return "\n".join([f"last lines of {path}:", *lines[-count:]])


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """One process at a time, on whichever node of a shared file system, holds the lock of the file `path`; yields
    whether it had to wait for another one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(open_own(path, os.O_RDWR | os.O_CREAT), "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            waited = False
        except BlockingIOError:
            fcntl.flock(lock, fcntl.LOCK_EX)
            waited = True
        yield waited


def remove_abandoned(folder: Path, names: str) -> None:
    """Remove what killed writers left of the outputs of these names (a glob pattern) in a folder."""
    for leftover in folder.glob(f"{names}.*-*-*.part"):
        if _abandoned(leftover.name.removesuffix(".part"), leftover):
            _remove(leftover)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _writer() -> str:
    """Host, process, and what no two writers share."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(8)}"


def _draft(out: Path) -> Path:
    """A new path beside `out`; what killed writers left beside it goes."""
    remove_abandoned(out.parent, glob.escape(out.name))
    return out.with_name(f"{out.name}.{_writer()}.part")


def _publish_file(draft: Path, out: Path) -> None:
    """Bring a finished part to the disk, then give it its name."""
    sync_file(draft)
    draft.replace(out)
    sync_names(out.parent)


def _abandoned(writer_name: str, draft: Path) -> bool:
    """Whether the writer of `<out>.<host>-<pid>-...` has ended; of another machine's that is believed after
    ABANDONED_SECONDS without a change."""
    name, pid, _ = writer_name.rsplit("-", 2)
    if name.endswith(f".{socket.gethostname()}") and pid.isdigit():
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
        except OSError:
            pass
        return False
    try:
        return time.time() - draft.stat().st_mtime > ABANDONED_SECONDS
    except OSError:
        return False


def _replace(draft: Path, out: Path) -> None:
    try:
        draft.rename(out)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        old = out.with_name(f"{out.name}.{_writer()}.part")
        with contextlib.suppress(FileNotFoundError):
            out.rename(old)
        try:
            draft.rename(out)
        finally:
            _remove(old)


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
