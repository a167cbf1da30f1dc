"""Folders of results that others can write to are refused, or warned of where that is asked for."""

from __future__ import annotations

import grp
import logging
import os
import pwd
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from mrsearch.config import ConfigError, Run, check_folders
from mrsearch.folder_rights import other_writers

ALONE, LAB, PRIMARY = 70_001, 70_002, 70_003
"""Groups: of this user alone, of a laboratory, and one that other users have as theirs too."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose group tests choose by `of_group`."""
    own = SimpleNamespace(pw_name="mira", pw_gid=ALONE)
    groups = {
        ALONE: SimpleNamespace(gr_name="mira", gr_mem=["mira"]),
        LAB: SimpleNamespace(gr_name="lab", gr_mem=["mira", "noor"]),
        PRIMARY: SimpleNamespace(gr_name="users", gr_mem=[]),
    }
    monkeypatch.setattr(pwd, "getpwuid", lambda _: own)
    monkeypatch.setattr(grp, "getgrgid", lambda gid: groups[gid])
    path = tmp_path / "results"
    path.mkdir(mode=0o755)
    return path


def with_mode(monkeypatch: pytest.MonkeyPatch, folder: Path, mode: int, group: int, owner: int | None = None) -> None:
    folder.chmod(mode)
    real = Path.stat

    def stat(self: Path, **options: bool) -> object:
        facts = real(self, **options)
        if self != folder:
            return facts
        uid = facts.st_uid if owner is None else owner
        return SimpleNamespace(st_mode=facts.st_mode, st_uid=uid, st_gid=group)

    monkeypatch.setattr(Path, "stat", stat)


@pytest.mark.parametrize(
    ("mode", "group", "writers"),
    [
        (0o755, LAB, None),
        (0o750, LAB, None),
        (0o775, ALONE, None),
        (0o775, LAB, "the members of group lab"),
        (0o2770, LAB, "the members of group lab"),
        (0o1770, LAB, "the members of group lab"),
        (0o770, PRIMARY, "the members of group users"),
        (0o770, 99_999, "the members of group 99999"),
        (0o777, ALONE, "every user of the machine"),
        (0o1777, ALONE, "every user of the machine"),
        (0o702, ALONE, "every user of the machine"),
    ],
)
def test_who_can_write(
    folder: Path, monkeypatch: pytest.MonkeyPatch, mode: int, group: int, writers: str | None
) -> None:
    with_mode(monkeypatch, folder, mode, group)
    assert other_writers(folder) == writers


def test_a_neighbours_folder_is_the_neighbours(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_mode(monkeypatch, folder, 0o755, LAB, owner=4711)
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert other_writers(folder) == "user 4711, whose folder it is"


def test_a_folder_that_is_not_there_is_nobodys(tmp_path: Path) -> None:
    assert other_writers(tmp_path / "nowhere") is None


@pytest.mark.parametrize("key", ["results", "resources"])
def test_a_run_in_such_a_folder_is_refused_or_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    paths = {"results": tmp_path / "results", "resources": tmp_path / "resources"}
    for path in paths.values():
        path.mkdir(mode=0o755)
    paths[key].chmod(0o777)
    texts = {name: str(path) for name, path in paths.items()}
    with pytest.raises(
        ConfigError, match=rf"paths\.{key} .* can be written by every user .*writable_by_others to warn"
    ):
        check_folders(Run.model_validate({"paths": texts}))
    with caplog.at_level(logging.WARNING):
        check_folders(Run.model_validate({"paths": {**texts, "writable_by_others": "warn"}}))
    assert f"paths.{key}" in caplog.text
    paths[key].chmod(0o755)
    check_folders(Run.model_validate({"paths": texts}))


def test_the_key_is_typed() -> None:
    for value in ("ignore", True, None, 0):
        with pytest.raises(ValidationError):
            Run.model_validate({"paths": {"writable_by_others": value}})
