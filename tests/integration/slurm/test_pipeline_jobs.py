"""`snakemake --profile slurm` on a real Slurm: the whole study, then what can go wrong around its jobs."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cluster import TestCluster
from .project import EVALUATIONS, Project, copied, finish
from .training import SECONDS, site_with, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]
TRAINED = "results/cluster/models/tiny/mr_search/seed3"


@pytest.fixture(scope="module")
def here(
    root: Path, slurm: TestCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """Another copy, and the same study under way in it on this machine's profile."""
    other = Project(copied(root, tmp_path_factory.mktemp("the project here")), slurm)
    process = other.start("--cores", "2", profile="profile/local")
    yield other.folder, process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=SECONDS)


@pytest.fixture(scope="module")
def ran(here: object, project: Project) -> Project:
    """The project after one whole run on the cluster, beside which the one on this machine goes on."""
    output = project.run()
    assert re.search(r"tiny-mr_search-seed3: submitted job \d+", output)
    assert re.search(r"tiny-mr_search-seed3 step \d/3 ", output), "the training's own progress is shown"
    project.assert_nothing_left()
    return project


def test_a_missing_entry_of_the_site_is_named_before_a_submission(project: Project, quiet: TestCluster) -> None:
    before = quiet.jobs("-t", "all")
    process = project.start(config=("site=config/site.yaml",))
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode != 0
    assert "config/site.yaml: account: Field required" in output
    assert quiet.jobs("-t", "all") == before


def test_all_problems_are_named_before_a_submission(project: Project, quiet: TestCluster) -> None:
    before = quiet.jobs("-t", "all")
    keys = {
        "partition": "nowhere",
        "partitions": {"nowhere": {"cores": 9, "mem_mb": 16001, "gpus": 4, "gpu_mem_mb": 1}},
    }
    site = site_with(project.folder / "other site", **keys, one_machine=False)
    process = project.start(config=(f"site={site}",))
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode != 0
    assert "The run was not started:" in output
    assert "partitions.nowhere does not exist on this cluster" in output
    assert "set 0.0.0.0, which asks clients for a bearer token" in output
    assert quiet.jobs("-t", "all") == before
    assert not (project.folder / "results" / "cluster" / "corpus").exists()


def test_a_dry_run_shows_what_trainings_ask_for(project: Project, quiet: TestCluster) -> None:
    output = project.run("-n")
    assert "Training: mr_search on tiny, seed 3 (partition gpu: 1 nodes x 1 GPUs, 1 cores, 2000 MB, 10 min)" in output


def test_tables_are_those_of_this_machine(ran: Project, here: tuple[Path, subprocess.Popen[str]]) -> None:
    folder, process = here
    finish(process)
    there, local = (place / "results" / "cluster" / "tables" for place in (ran.folder, folder))
    names = sorted(path.name for path in there.iterdir())
    assert names == sorted(path.name for path in local.iterdir())
    measured = [name for name in names if name.startswith("compute.")]  # times and hardware
    assert {"main.csv", "main.md", "f1.csv", "episodes.csv"} <= set(names) - set(measured)
    for name in set(names) - set(measured):
        assert (there / name).read_bytes() == (local / name).read_bytes(), name


def test_two_runs_at_once_share_one_training(ran: Project, quiet: TestCluster) -> None:
    model = ran.folder / TRAINED / "model" / "model.safetensors"
    weights = model.read_bytes()
    shutil.rmtree(ran.folder / TRAINED)
    runs = [ran.start("--nolock", f"{TRAINED}/run.json") for _ in range(2)]
    outputs = [finish(each) for each in runs]
    (job,) = re.findall(r"tiny-mr_search-seed3: submitted job (\d+)", "".join(outputs))
    assert sum(f"tiny-mr_search-seed3: attached to job {job}" in output for output in outputs) == 1
    assert model.read_bytes() == weights
    ran.assert_nothing_left()


def test_a_killed_run_finds_its_server_and_a_failed_consumer_ends_it(ran: Project, quiet: TestCluster) -> None:
    process, _ = ran.evaluate()
    server = ran.server()
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert ran.server() == server
    quiet.call("scancel", *ran.consumers("PENDING,RUNNING"))
    ran.run("--unlock")
    process, jobs = ran.evaluate()
    assert ran.server() == server, "the same server is used again"
    quiet.call("scancel", *jobs)
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 1, output
    ran.assert_nothing_left()


def test_ctrl_c_cancels_everything(ran: Project, quiet: TestCluster) -> None:
    process, _ = ran.evaluate()
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode != 0, output
    wait_until(lambda: quiet.jobs() == [], "all jobs are cancelled", 30)
    ran.assert_nothing_left()


def test_ctrl_c_while_the_server_starts_cancels_it(ran: Project, quiet: TestCluster) -> None:
    process = ran.start_evaluations()
    wait_until(lambda: quiet.jobs("-n", "retriever"), "the server's job")
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode != 0, output
    ran.assert_nothing_left()


def test_sigterm_lets_jobs_end_and_a_rerun_completes(ran: Project, quiet: TestCluster) -> None:
    process, _ = ran.evaluate()
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=SECONDS)
    ran.assert_nothing_left()
    ran.run("evaluations")
    ran.assert_nothing_left()
    assert (ran.folder / EVALUATIONS / "tiny" / "mr_search" / "seed3" / "run.json").is_file()


def test_ctrl_c_cancels_a_training(ran: Project, quiet: TestCluster) -> None:
    shutil.rmtree(ran.folder / TRAINED)
    process = ran.start(f"{TRAINED}/run.json")
    wait_until(lambda: "tiny-mr_search" in quiet.call("squeue", "-h", "-o", "%j"), "the training's job")
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode != 0, output
    wait_until(lambda: quiet.jobs() == [], "all jobs are cancelled", 30)
    ran.assert_nothing_left()
