"""New files that nobody else made, and bytes that outlast a crash of the machine."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)
"""Answers of file systems that cannot bring a folder to the disk on request."""


def create_exclusively(path: Path, mode: int = 0o666) -> int:
    """Descriptor of a new file, open for writing; `mode` is cut by the umask. FileExistsError where anything stands
    there, a link to elsewhere included."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)


def open_own(path: Path, flags: int) -> int:
    """Descriptor of a file that may exist already (`flags` of `os.open`); OSError where a link or anything but a file
    stands there."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is no file", str(path))
    return descriptor


def sync_file(path: Path) -> None:
    """Wait until a file's bytes are on the disk; OSError where a link or anything but a file stands there."""
    descriptor = open_own(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_names(folder: Path) -> None:
    """Wait until a folder's names are on the disk, where its file system can do that."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """`sync_file` and `sync_names` of everything in a folder but its links, which lead to files of others."""
    for root, _, names in os.walk(folder):
        for name in names:
            if not (file := Path(root, name)).is_symlink():
                sync_file(file)
        sync_names(Path(root))
