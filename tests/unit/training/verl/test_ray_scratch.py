"""Ray's folder on a node's own disk: on the site's disk, noted, and removed on every node, also after a kill."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from mrsearch.cluster.slurm import setup_lines
from mrsearch.cluster.stopping import ATTEMPT, RANK, SCRATCH, WORLD
from mrsearch.config.site import Site
from mrsearch.files import read_json, write_json
from mrsearch.training.verl import ray_cluster
from mrsearch.training.verl.ray_cluster import Node

SITE = {"account": None, "partition": "cpu", "partitions": {"cpu": {"cores": 1, "mem_mb": 1}}}


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    """The second of two nodes, on which Ray has just been started and ends at once."""
    for name, value in {RANK: "1", WORLD: "2", ATTEMPT: "7-0"}.items():
        monkeypatch.setenv(name, value)

    class Ended:
        def poll(self) -> int:
            return 0

    def start(node: Node, *_: Any) -> Ended:
        folder = Path((read_json(node.scratch) or {"folder": tmp_path / "nothing"})["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        return Ended()

    monkeypatch.setattr(ray_cluster, "_start", start)
    monkeypatch.setattr(ray_cluster, "_address", lambda: "127.0.0.1")
    monkeypatch.setattr(ray_cluster, "end_child", lambda *_: None)
    return Node(tmp_path / "meeting", 1, 0)


def meet(node: Node, folder: Path, host: str) -> None:
    write_json(node.meeting, {"address": "127.0.0.1:1", "scratch": str(folder), "host": host})


def test_another_node_removes_what_ray_made_there(worker: Node, tmp_path: Path) -> None:
    meet(worker, tmp_path / "mrs-abc", "another")
    ray_cluster._work(worker)
    assert not (tmp_path / "mrs-abc").exists() and not worker.scratch.exists()


def test_what_a_killed_attempt_left_on_the_node_goes(worker: Node, tmp_path: Path) -> None:
    left = tmp_path / "mrs-left"
    left.mkdir()
    write_json(worker.scratch, {"folder": str(left)})
    meet(worker, tmp_path / "mrs-abc", "another")
    ray_cluster._work(worker)
    assert not left.exists()


def test_the_heads_own_folder_is_left_to_the_head(worker: Node, tmp_path: Path) -> None:
    folder = tmp_path / "mrs-abc"
    folder.mkdir()
    write_json(worker.scratch, {"folder": str(folder)})
    meet(worker, folder, socket.gethostname())
    ray_cluster._work(worker)
    assert folder.exists() and worker.scratch.exists()


def test_a_note_removes_no_other_folder(worker: Node, tmp_path: Path) -> None:
    other = tmp_path / "thesis"
    other.mkdir()
    write_json(worker.scratch, {"folder": str(other)})
    ray_cluster._remove_scratch(worker)
    assert other.exists() and not worker.scratch.exists()


def test_the_site_says_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SCRATCH, str(tmp_path))
    node = Node(tmp_path / "meeting", 1, 0)
    assert ray_cluster._scratch(node).parent == tmp_path
    assert f"export {SCRATCH}=/local" in setup_lines(Site.model_validate(SITE | {"scratch": "/local"}))
    for wrong in ("local", "/" + "x" * 30):
        with pytest.raises(ValueError, match="scratch"):
            Site.model_validate(SITE | {"scratch": wrong})
