"""What would stop a run is found before it starts, all of it at once."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from mrsearch.cluster import needs
from mrsearch.cluster.preflight import preflight
from mrsearch.config import Run, load_study


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def run(place: Path, **keys: object) -> Run:
    return Run.model_validate({"paths": {"results": str(place / "r"), "resources": str(place / "s")}, **keys})


def problems(root: Path, given: Run) -> list[str]:
    return preflight(given, load_study(given, root))


def test_the_demo_can_start_here(root: Path, tmp_path: Path) -> None:
    assert problems(root, run(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def test_the_papers_needs_are_estimated_from_its_numbers(root: Path) -> None:
    study = load_study(Run(study="paper"), root)
    assert needs.index_bytes(study) == 21_015_324 * 768 * 4
    assert needs.parameters(study.models["qwen2.5-7b"]) == 7.62e9
    train = study.resources.train
    assert needs.gpu_bytes(study, "train", train) == pytest.approx(7.62e9 * (16 / 8 + 2 / 8))


def test_all_problems_come_in_one_list(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "r").mkdir()
    with socket.socket() as taken, socket.socket() as closed:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        service = {"mode": "http", "port": taken.getsockname()[1]}
        big = {"kind": "hub", "repository": "a/b", "revision": "c", "parameters": 100000.0}
        given = run(tmp_path, overrides={"retrieval.service": service, "models.huge": big})
        found = problems(root, given)
    said = "\n".join(found)
    assert "GiB are free: make room, or set paths.results and paths.resources" in said
    assert "W&B at 127.0.0.1:" in said and "set WANDB_MODE=offline" in said
    assert "retrieval.service.port" in said and "cannot be bound" in said
    assert "train will need" in said and "this machine has" in said


def test_an_unfinished_site_file_is_part_of_the_list(root: Path, tmp_path: Path) -> None:
    found = problems(root, run(tmp_path, scheduler="slurm", site=str(root / "config" / "site.yaml")))
    assert any("account: Field required" in line for line in found)


def test_a_folder_that_cannot_be_written_is_named(root: Path) -> None:
    found = problems(root, Run.model_validate({"paths": {"results": "/proc/results"}}))
    assert any(line.startswith("/proc: cannot be written: ") for line in found)
