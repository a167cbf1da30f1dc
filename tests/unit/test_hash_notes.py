"""Notes of hashes: believed while nothing changed, whatever a change does to hide."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mrsearch import hash_notes
from mrsearch.hash_notes import noted_hash

CONTENT = b"weights of a model"


class Counted:
    """A hash that differs each time it is computed."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.count, self.meanwhile = 0, meanwhile

    def __call__(self) -> str:
        self.count += 1
        self.meanwhile()
        return f"hash {self.count}"


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(hash_notes, "SETTLED_NS", 0)
    path = tmp_path / "model" / "model.safetensors"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    return path


def hashed(weights: Path, computed: Counted) -> str:
    folder = weights.parent
    return noted_hash(folder, [path for path in folder.rglob("*") if path.is_file()], computed)


def _rewritten(path: Path) -> None:
    """Other content of the same size, its time set back."""
    before = path.stat()
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(CONTENT[::-1])
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)


def _damaged(note: Path, **changed: object) -> None:
    note.write_text(json.dumps({**json.loads(note.read_text()), **changed}))


CHANGES = {
    "rewritten": _rewritten,
    "replaced": _replaced,
    "longer": lambda path: path.write_bytes(CONTENT * 2),
    "renamed": lambda path: path.rename(path.with_name("model.bin")),
    "one more": lambda path: path.with_name("config.json").write_text("{}"),
    "note without a hash": lambda path: _damaged(path.parent.with_name("model.contents.json"), sha256=None),
    "note cut short": lambda path: path.parent.with_name("model.contents.json").write_text('{"sha'),
    "note of a list": lambda path: path.parent.with_name("model.contents.json").write_text("[]"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_folder_is_hashed_once_and_again_after_a_change(weights, change):
    computed = Counted()
    assert [hashed(weights, computed) for _ in range(3)] == ["hash 1"] * 3
    change(weights)
    assert [hashed(weights, computed) for _ in range(3)] == ["hash 2"] * 3


def test_a_note_counts_only_where_it_is_clearly_younger_than_the_files(weights, monkeypatch):
    monkeypatch.setattr(hash_notes, "SETTLED_NS", 3600 * 10**9)
    computed = Counted()
    assert [hashed(weights, computed) for _ in range(2)] == ["hash 1", "hash 2"]


def test_nothing_is_noted_where_a_file_changes_while_it_is_hashed(weights):
    computed = Counted(meanwhile=lambda: _rewritten(weights))
    assert [hashed(weights, computed) for _ in range(2)] == ["hash 1", "hash 2"]


def test_a_folder_whose_parent_cannot_be_written_to_is_hashed_each_time(weights, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(hash_notes, "write_json", refuse)
    computed = Counted()
    assert [hashed(weights, computed) for _ in range(2)] == ["hash 1", "hash 2"]
