"""What would stop a run is found before it starts, all of it at once."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mrsearch.config import Run, load_study
from mrsearch.config.site import Site
from mrsearch.preflight import machine, needs
from mrsearch.preflight.checks import preflight


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
    assert needs.index_needs(study).disk == 21_015_324 * 768 * 4
    assert needs.parameters(study.models["qwen2.5-7b"]) == 7.62e9
    train = study.resources.train
    assert needs.gpu_bytes(study, "train", train) == pytest.approx(7.62e9 * (16 / 8 + 2 / 8))


def test_fine_tuning_counts_where_a_study_fine_tunes(root: Path) -> None:
    paper, rivals = (load_study(Run(study=name), root) for name in ("paper", "baselines"))
    asked = rivals.resources.fine_tuning
    assert needs.gpu_bytes(rivals, "fine_tuning", asked) == pytest.approx(7.62e9 * 16 / 8)
    on_cpu = asked.model_copy(update={"gpus": 0})
    assert needs.memory_bytes(rivals, "fine_tuning", on_cpu) == pytest.approx(7.62e9 * 16)
    assert needs.memory_bytes(paper, "fine_tuning", on_cpu) == 0


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


def test_the_command_lists_the_problems_and_fails(root: Path) -> None:
    command = [sys.executable, "-m", "mrsearch.cli", "preflight", "demo", "--scheduler", "slurm"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert done.returncode == 2
    problems = done.stdout.splitlines()
    assert "- config/site.yaml: account: Field required" in problems
    assert f"{len(problems)} problems would stop study demo" in done.stderr


def test_a_folder_that_cannot_be_written_is_named(root: Path) -> None:
    found = problems(root, Run.model_validate({"paths": {"results": "/proc/results"}}))
    assert any(line.startswith("/proc: cannot be written: ") for line in found)


def test_wrong_versions_are_named(tmp_path: Path) -> None:
    assert list(machine.versions()) == []
    wanted = tmp_path / "wanted.in"
    wanted.write_text("# what is needed\npytest>=1\nno-such-package>=2\npydantic>=1,<2\npyyaml\n")
    missing, old = machine.versions(wanted)
    assert missing == "the Python package no-such-package is missing: install envs/cpu.lock.txt"
    assert old.startswith("pydantic 2.") and "pydantic<2,>=1 is needed" in old


def test_what_does_not_fit_the_site_is_named(root: Path, tmp_path: Path) -> None:
    small = {"cores": 64, "mem_mb": 130_000, "gpus": 8, "gpu_mem_mb": 20_000}
    site = tmp_path / "site.yaml"
    site.write_text(yaml.safe_dump({"account": None, "partition": "small", "partitions": {"small": small}}))
    overrides = {"resources.train.mem_mb": 100_000, "resources.retriever.mem_mb": 50_000}
    given = run(tmp_path, study="paper", scheduler="slurm", site=str(site), overrides=overrides)
    said = "\n".join(problems(root, given))
    assert "resources.retriever.mem_mb (50000) is less than the 66059 that it will need" in said
    assert "train will need 17145 MB on each of 8 x 1 GPUs" not in said
    site.write_text(site.read_text().replace("20000", "16000"))
    assert "train will need 17145 MB on each of 8 x 1 GPUs, more than partitions.small.gpu_mem_mb (16000)" in "\n".join(
        problems(root, given)
    )


def test_a_server_that_other_nodes_cannot_reach_is_named(root: Path) -> None:
    def said(host: str, **keys: bool) -> list[str]:
        loaded = load_study(Run(overrides={"retrieval.service": {"mode": "http", "host": host}}), root)
        site = {"account": None, "partition": "cpu", "partitions": {"cpu": {"cores": 1, "mem_mb": 1}}}
        return list(machine.reachable(loaded, Site.model_validate(site | keys)))

    (problem,) = said("127.0.0.1")
    assert "set 0.0.0.0, which asks clients for a bearer token" in problem
    assert said("0.0.0.0") == said("127.0.0.1", one_machine=True) == []


def test_an_interpreter_that_slurm_jobs_cannot_start_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/home/me/my project/.venv/bin/python")
    assert [problem for problem in machine.interpreter() if "has a space" in problem]
    monkeypatch.setattr(sys, "executable", "/home/me/project/.venv/bin/python")
    assert not list(machine.interpreter())
