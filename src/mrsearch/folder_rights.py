"""Who else can write to a folder: whoever can may put files there that are believed, and take away others."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path


def other_writers(folder: Path) -> str | None:
    """Who besides this user and root can write to a folder, in words; None where nobody can, or nothing is there."""
    try:
        facts = folder.stat()
    except OSError:
        return None
    if facts.st_uid not in (os.getuid(), 0) and os.getuid() != 0:
        return f"user {facts.st_uid}, whose folder it is"
    if facts.st_mode & stat.S_IWOTH:
        return "every user of the machine"
    if facts.st_mode & stat.S_IWGRP and not _is_private(facts.st_gid):
        return f"the members of group {_group_name(facts.st_gid)}"
    return None


def _is_private(group: int) -> bool:
    """Whether a group is this user's alone, as many systems give one to every user."""
    try:
        entry, user = grp.getgrgid(group), pwd.getpwuid(os.getuid())
    except KeyError:
        return False
    return user.pw_gid == group and entry.gr_name == user.pw_name and not set(entry.gr_mem) - {user.pw_name}


def _group_name(group: int) -> str:
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)
