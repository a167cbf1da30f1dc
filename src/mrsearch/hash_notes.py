"""The hash of a folder, noted beside it and believed while none of its files changed.

Programs can set a file's time of modification, but not the time at which its content or attributes last changed (ctime
of stat(2)): a file that has the size, times and inode of the one that was hashed is that one. Two changes within one
tick of the file system's clock would look alike, so a note counts only where it is clearly younger than they are, by
that same clock.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from mrsearch.files import read_json, write_json

SETTLED_NS = 2_000_000_000
"""A note is at least so much younger than the newest file: more than a tick of any file system's clock."""
NOTE = "contents.json"


def noted_hash(folder: Path, files: Sequence[Path], computed: Callable[[], str]) -> str:
    """The hash of a folder with these files: the noted one, or else what `computed` gives, which is noted then.

    Nothing is noted where a file changed meanwhile, or where the folder's parent cannot be written to.
    """
    note = folder.with_name(f"{folder.name}.{NOTE}")
    facts = _facts(folder, files)
    if (noted := _read(note, facts)) is not None:
        return noted
    sha256 = computed()
    if _facts(folder, files) == facts:
        with contextlib.suppress(OSError):
            write_json(note, {"sha256": sha256, "files": facts})
    return sha256


def _read(note: Path, facts: dict[str, list[int]]) -> str | None:
    content = read_json(note)
    if not isinstance(content, dict) or content.get("files") != facts:
        return None
    newest = max((changed for _, _, changed, _ in facts.values()), default=0)
    if note.stat().st_mtime_ns < newest + SETTLED_NS:
        return None
    sha256 = content.get("sha256")
    return sha256 if isinstance(sha256, str) else None


def _facts(folder: Path, files: Sequence[Path]) -> dict[str, list[int]]:
    """Size, times of modification and change, and inode of each file, by its name in the folder."""
    stats = {file.relative_to(folder).as_posix(): file.stat() for file in files}
    return {name: [at.st_size, at.st_mtime_ns, at.st_ctime_ns, at.st_ino] for name, at in sorted(stats.items())}
