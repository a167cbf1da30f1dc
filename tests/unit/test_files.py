"""Files that appear whole: nobody else's file is written to, secrets included, and bytes are safe before names."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from mrsearch import files
from mrsearch.durable import create_exclusively, open_own
from mrsearch.files import atomic_file, atomic_folder, locked, publish_folder, publish_link, write_json, write_text
from mrsearch.retrieval.service.endpoint import Endpoint, publish, read_endpoint
from mrsearch.training.checkpoints import save

TOKEN = "the-bearer-token"
WRITERS = {
    "text": lambda out: write_text(out, TOKEN),
    "json": lambda out: write_json(out, TOKEN),
    "endpoint": lambda out: publish(out, Endpoint("http://127.0.0.1:1", "boot", TOKEN)),
    "file": lambda out: _write_file(out),
}


def _write_file(out: Path) -> None:
    with atomic_file(out) as part:
        part.write_text(TOKEN)


@pytest.fixture
def guessed(monkeypatch: pytest.MonkeyPatch) -> str:
    """A neighbour who knows the next name, whatever it is made from."""
    monkeypatch.setattr(files, "_writer", lambda: "node-1-guessed")
    return "node-1-guessed"


@pytest.mark.parametrize("kind", WRITERS)
def test_a_link_at_the_next_name_receives_nothing(tmp_path: Path, guessed: str, kind: str) -> None:
    victim, out = tmp_path / "victim", tmp_path / "out" / "retriever.live"
    victim.write_text("mine")
    out.parent.mkdir()
    out.with_name(f"{out.name}.{guessed}.part").symlink_to(victim)
    with pytest.raises(FileExistsError):
        WRITERS[kind](out)
    assert victim.read_text() == "mine" and not out.exists()


@pytest.mark.parametrize("kind", WRITERS)
def test_a_pipe_at_the_next_name_receives_nothing(tmp_path: Path, guessed: str, kind: str) -> None:
    out = tmp_path / "retriever.live"
    os.mkfifo(out.with_name(f"{out.name}.{guessed}.part"))
    with pytest.raises(FileExistsError):
        WRITERS[kind](out)


def test_a_link_at_the_next_folder_is_not_entered(tmp_path: Path, guessed: str) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / f"model.{guessed}.part").symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError), atomic_folder(tmp_path / "model") as part:
        (part / "weights").write_text("x")
    assert not any((tmp_path / "victim").iterdir())


def test_names_differ_from_write_to_write(tmp_path: Path) -> None:
    seen = set()
    for _ in range(50):
        with atomic_file(tmp_path / "x") as part:
            seen.add(part.name)
            part.write_text("x")
    assert len(seen) == 50 and all(len(name.split("-")[-1].removesuffix(".part")) >= 16 for name in seen)


def test_a_link_at_the_final_name_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "state.json").symlink_to(tmp_path / "victim")
    write_json(tmp_path / "state.json", {"job_id": "1"})
    assert (tmp_path / "victim").read_text() == "mine" and not (tmp_path / "state.json").is_symlink()


def test_a_link_in_place_of_a_part_is_not_published(tmp_path: Path) -> None:
    (tmp_path / "foreign").write_text("foreign")
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)), atomic_file(tmp_path / "out") as part:
        part.unlink()
        part.symlink_to(tmp_path / "foreign")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foreign"]


def test_a_lock_truncates_no_file_that_a_link_names(tmp_path: Path) -> None:
    (tmp_path / "thesis").write_text("mine")
    (tmp_path / "lock").symlink_to(tmp_path / "thesis")
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)), locked(tmp_path / "lock"):
        pass
    assert (tmp_path / "thesis").read_text() == "mine"


def test_secrets_are_their_owners_alone(tmp_path: Path) -> None:
    publish(tmp_path / "live", Endpoint("http://127.0.0.1:1", "boot", TOKEN))
    assert stat.S_IMODE((tmp_path / "live").stat().st_mode) == 0o600
    endpoint = read_endpoint(tmp_path / "live")
    assert endpoint is not None and endpoint.bearer == TOKEN


def test_other_files_have_the_rights_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        for name, write in WRITERS.items():
            write(tmp_path / name)
    finally:
        os.umask(before)
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("text", "json", "file")} == {0o640}


def test_only_files_are_opened_again(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="is no file"):
        open_own(tmp_path / "pipe", os.O_RDONLY)
    os.close(create_exclusively(tmp_path / "new"))
    with pytest.raises(FileExistsError):
        create_exclusively(tmp_path / "new")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """fsync and renames in their order, by the names that they concern."""
    seen: list[str] = []
    real_sync, real_replace, real_rename = os.fsync, Path.replace, Path.rename

    def sync(descriptor: int) -> None:
        seen.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        real_sync(descriptor)

    def replace(self: Path, target: Path) -> Path:
        seen.append(f"name {target.name}")
        return real_replace(self, target)

    def rename(self: Path, target: Path) -> Path:
        seen.append(f"name {target.name}")
        return real_rename(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(Path, "rename", rename)
    return seen


@pytest.mark.parametrize("kind", WRITERS)
def test_bytes_are_on_the_disk_before_the_name(tmp_path: Path, calls: list[str], kind: str) -> None:
    WRITERS[kind](tmp_path / "out")
    assert calls[0].startswith("sync out.") and calls[1:] == ["name out", f"sync {tmp_path.name}"]


def test_every_file_of_a_folder_is_on_the_disk_before_its_name(tmp_path: Path, calls: list[str]) -> None:
    part = tmp_path / "part"
    (part / "deep").mkdir(parents=True)
    for name in ("a", "deep/b", "deep/c"):
        (part / name).write_text(name)
    (part / "elsewhere").symlink_to("/dev/null")
    publish_folder(part, tmp_path / "out")
    before = calls[: calls.index("name out")]
    assert sorted(before) == ["sync a", "sync b", "sync c", "sync deep", "sync part"]
    assert calls[-1] == f"sync {tmp_path.name}"


def test_a_checkpoint_is_on_the_disk_before_its_name(tmp_path: Path, calls: list[str]) -> None:
    import torch

    model = torch.nn.Linear(2, 2)
    save(tmp_path / "run", 3, model, torch.optim.SGD(model.parameters(), 0.1), {"tokens": 1}, keep=1)
    before = calls[: calls.index("name step-000003")]
    assert {"sync state.pt", "sync counters.json"} <= set(before)


def test_an_unfinished_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(tmp_path / "state.json", {"old": True})

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="make room"):
        write_json(tmp_path / "state.json", {"new": True})
    assert json.loads((tmp_path / "state.json").read_text()) == {"old": True}
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_one_file_in_two_places(tmp_path: Path) -> None:
    (tmp_path / "records").write_text("one\n")
    publish_link(tmp_path / "records", tmp_path / "out" / "records")
    assert (tmp_path / "out" / "records").read_text() == "one\n"


def test_one_file_in_two_places_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "another disk")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "records").write_text("one\n")
    publish_link(tmp_path / "records", tmp_path / "records.copy")
    assert (tmp_path / "records.copy").read_text() == "one\n"
