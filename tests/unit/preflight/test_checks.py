"""What would stop a run is found before it starts, all of it at once."""

from __future__ import annotations

import os
import re
import socket
import sys
from pathlib import Path

import pytest
import yaml
from support.commands import mrsearch

from mrsearch.config import Run, load_study
from mrsearch.config.layout import Layout
from mrsearch.config.site import Site
from mrsearch.planning import memory, needs
from mrsearch.planning.shapes import shape_of
from mrsearch.preflight import disk, inputs, machine
from mrsearch.preflight.checks import preflight

FLAT = {"retrieval.retrievers.e5.index": "flat", "resources.retriever.gpus": 0}
"""The paper's exact search on CPUs."""


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def run(place: Path, **keys: object) -> Run:
    return Run.model_validate({"paths": {"results": str(place / "r"), "resources": str(place / "s")}, **keys})


def problems(root: Path, given: Run) -> list[str]:
    return preflight(given, load_study(given, root)).problems


def test_the_demo_can_start_here(root: Path, tmp_path: Path) -> None:
    assert problems(root, run(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def test_the_papers_needs_are_estimated_from_its_numbers(root: Path) -> None:
    study = load_study(Run(study="paper"), root)
    on_cpu = load_study(Run(study="paper", overrides=FLAT), root)
    assert needs.index_needs(on_cpu).disk == 21_015_324 * 768 * 4
    assert needs.index_needs(study).disk == 21_015_324 * 768 * 2, "in the 16 bits that GPUs scan"
    assert needs.parameters(study.models["qwen2.5-7b"]) == 7.62e9
    seven = shape_of(study.models["qwen2.5-7b"])
    items = memory.training_memory(study, seven)
    assert needs.gpu_bytes(study, "train", study.resources.train) == sum(items.values())
    assert sum(items[name] for name in memory.STATE) == pytest.approx(7.62e9 * 16 / 8, rel=0.01)
    assert needs.results_items(study)["checkpoints of qwen2.5-7b"] == 3 * 3 * 12 * 7.62e9


def test_fine_tuning_counts_where_a_study_fine_tunes(root: Path) -> None:
    paper, baselines = (load_study(Run(study=name), root) for name in ("paper", "baselines"))
    asked = baselines.resources.sft
    items = needs.gpu_items(baselines, "sft", asked)
    assert sum(items[name] for name in memory.STATE) == pytest.approx(7.62e9 * 16 / 8, rel=0.01)
    assert items["logits"] == baselines.sft.micro_batch_size * 8192 * 152_064 * 2
    on_cpu = asked.model_copy(update={"gpus": 0})
    assert needs.memory_bytes(baselines, "sft", on_cpu) == pytest.approx(7.62e9 * 16)
    assert needs.memory_bytes(paper, "sft", on_cpu) == 0


def test_all_problems_come_in_one_list(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "r").mkdir()
    with socket.socket() as taken, socket.socket() as closed:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        service = {"mode": "http", "port": taken.getsockname()[1]}
        big = {"kind": "hub", "repository": "a/b", "revision": "c" * 40, "parameters": 100000.0}
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
    done = mrsearch("preflight", "demo", "--scheduler", "slurm", cwd=root)
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
    small = {"cores": 64, "mem_mb": 130_000, "gpus": 8, "gpu_mem_mb": 80_000}
    site = tmp_path / "site.yaml"
    site.write_text(yaml.safe_dump({"account": None, "partition": "small", "partitions": {"small": small}}))
    overrides = {"resources.train.mem_mb": 100_000, "resources.retriever.mem_mb": 50_000} | FLAT
    given = run(tmp_path, study="paper", scheduler="slurm", site=str(site), overrides=overrides)
    said = "\n".join(problems(root, given))
    assert "resources.retriever.mem_mb (50000) is less than the 66059 that it will need" in said
    assert "MB on each of 8 x 1 GPUs" not in said
    site.write_text(site.read_text().replace("80000", "40000"))
    said = "\n".join(problems(root, given))
    assert re.search(
        r"train will need 5\d{4} MB on each of 8 x 1 GPUs .*logits 10.0 GB.*, more than .*gpu_mem_mb \(40000\)",
        said,
    )


def test_disk_is_broken_down_by_item(root: Path, tmp_path: Path) -> None:
    big = {"kind": "hub", "repository": "a/b", "revision": "c" * 40, "parameters": 100000.0}
    (said,) = [line for line in problems(root, run(tmp_path, overrides={"models.huge": big})) if "free" in line]
    assert re.search(r"\(checkpoints of huge [\d.]+, .*model huge [\d.]+, .*trained models of huge [\d.]+", said)


def test_what_is_on_disk_already_needs_no_more_room(root: Path, tmp_path: Path) -> None:
    big = {"kind": "hub", "repository": "a/b", "revision": "c" * 40, "parameters": 100000.0}
    given = run(tmp_path, overrides={"models.huge": big})
    study = load_study(given, root)
    layout = Layout(given, study)
    for folder in (layout.base("huge"), layout.scratch("huge", "mr_search", 0)):
        folder.mkdir(parents=True)
        with (folder / "weights").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 1 << 20)
    (room,) = disk.folders(given, study)
    whole = needs.results_items(study) | needs.resources_items(study)
    freed = {"model huge", "checkpoints of huge"}
    for name, size in whole.items():
        assert f"{name} {(size - (name in freed) * (1 << 20)) / needs.GIB:.1f}" in room or size < needs.GIB / 20


def test_a_study_that_trains_nothing_is_not_stopped_over_training(root: Path) -> None:
    methods = {"rag": {"procedure": "rag"}}
    study = load_study(Run(study="paper", overrides={"methods": methods, "report.baseline": "rag"}), root)
    assert {"train", "sft", "warm_start"}.isdisjoint(study.active_stages())
    assert needs.gpu_bytes(study, "train", study.resources.train) == 0
    assert needs.memory_bytes(study, "train", study.resources.train.model_copy(update={"gpus": 0})) == 0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"data": {"kind": "folder", "path": "no/such"}}, r"data\.path \(no/such\) is no folder"),
        ({"models.mine": {"kind": "folder", "path": "no/such"}}, r"models\.mine\.path \(no/such\) is no model folder"),
    ],
)
def test_what_a_study_reads_must_be_there(root: Path, tmp_path: Path, overrides: dict, message: str) -> None:
    methods = {"rag": {"procedure": "rag"}}
    given = run(tmp_path, overrides={"methods": methods, "report.baseline": "rag", **overrides})
    assert [line for line in problems(root, given) if re.match(message, line)]


def test_missing_files_of_a_data_folder_are_named_each(root: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "questions").mkdir(parents=True)
    (tmp_path / "data" / "corpus.jsonl.gz").touch()
    (tmp_path / "data" / "questions" / "nq.dev.jsonl").touch()
    overrides = {"data.path": str(tmp_path / "data")}
    lines = list(inputs.data(load_study(Run(study="real-smoke", overrides=overrides), root)))
    assert any(line.startswith("benchmarks.triviaqa: ") and line.endswith(".jsonl is missing") for line in lines)
    assert any(line.startswith("data.support: ") for line in lines)
    assert not [line for line in lines if "corpus" in line or "benchmarks.nq:" in line]


def test_lucene_is_missed_where_a_study_searches_with_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lexical = {"retrieval.retrievers.bm25": {"kind": "lexical"}, "retrieval.use": "bm25"}
    study = load_study(Run(overrides=lexical), root)
    monkeypatch.setattr("mrsearch.preflight.inputs.importlib.util.find_spec", lambda name: None)
    (line,) = inputs.packages(study)
    assert "retrievers.bm25 searches with Lucene" in line and "envs/lexical.lock.txt" in line
    assert not list(inputs.packages(load_study(Run(), root)))


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


def test_a_path_that_slurm_takes_for_a_pattern_is_named(tmp_path: Path) -> None:
    assert "has a %" in "".join(machine.project_path(tmp_path / "100%j"))
    assert not list(machine.project_path(tmp_path))


def test_a_cache_that_cannot_be_written_is_named_with_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert not list(machine.cache())
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/self/nowhere")
    (problem,) = machine.cache()
    assert "XDG_CACHE_HOME" in problem and "/proc/self/nowhere" in problem
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def full(**_: object) -> object:
        raise OSError(122, "Disk quota exceeded")

    monkeypatch.setattr(machine.tempfile, "TemporaryFile", full)
    (problem,) = machine.cache()
    assert "Disk quota exceeded" in problem


def test_the_folder_of_a_training_leads_to_its_model(root: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    study = load_study(Run(overrides={"models.mine": {"kind": "folder", "path": str(tmp_path)}}), root)
    (message,) = inputs.models(study)
    assert message.endswith(f"holds no config.json: name {tmp_path / 'model'}, which does")
