"""`snakemake --profile slurm` on a real Slurm: the whole study, then what can go wrong around the retriever."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from .cluster import TestCluster
from .training import SECONDS, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]
BIN = Path(sys.executable).parent
PARTS = ("Snakefile", "config", "rules", "profile", "profiles", "slurm", "workflow", "envs", "tests/integration/slurm")
STUDY = "study=tests/integration/slurm/study.yaml"
SITE = "site=tests/integration/slurm/site.yaml"
# A test cluster answers at once; a real one should be asked less often.
POLLING = ["--slurm-init-seconds-before-status-checks=1", "--seconds-between-status-checks=1", "--latency-wait=10"]
EVALUATIONS = "results/cluster/eval"


class Project:
    """A copy of the project, run on the cluster."""

    def __init__(self, folder: Path, cluster: TestCluster) -> None:
        self.folder, self.cluster = folder, cluster
        self.token = folder / "results" / "cluster" / "service" / "dense.json"

    def start(self, *arguments: str, profile: str = "slurm", config: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Snakemake in a process group of its own."""
        polling = POLLING if profile == "slurm" else []
        command = [BIN / "snakemake", "--profile", profile, *polling, *arguments, "--config", STUDY, SITE, *config]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}
        return subprocess.Popen(
            [str(word) for word in command],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, profile: str = "slurm", config: tuple[str, ...] = ()) -> str:
        """Run to the end; returns the output."""
        process = self.start(*arguments, profile=profile, config=config)
        output, _ = process.communicate(timeout=4 * SECONDS)
        assert process.returncode == 0, output
        return output

    def evaluate(self) -> tuple[subprocess.Popen[str], list[str]]:
        """Evaluate anew; returns Snakemake and the evaluations' jobs once one of them runs."""
        shutil.rmtree(self.folder / EVALUATIONS, ignore_errors=True)
        before = set(self.consumers("all"))
        process = self.start("--retries", "0", "evaluations")

        def running() -> bool:
            assert process.poll() is None, process.communicate()[0]
            return bool(set(self.consumers("RUNNING")) - before)

        wait_until(running, "an evaluation runs")
        return process, sorted(set(self.consumers("all")) - before)

    def consumers(self, states: str) -> list[str]:
        """Ids of the evaluations' jobs."""
        lines = self.cluster.call("squeue", "-h", "-t", states, "-o", "%A %k").splitlines()
        return [line.split()[0] for line in lines if "rule_evaluate" in line]

    def server(self) -> str:
        """Id of the retriever's job."""
        (job,) = self.cluster.jobs("-n", "retriever")
        return job

    def assert_nothing_left(self) -> None:
        """No job, no process of the service, no token."""
        assert self.cluster.jobs() == []
        running = [each.info for each in psutil.process_iter(["pid", "cmdline", "status"])]
        mine = [each for each in running if str(self.token) in (each["cmdline"] or []) and each["status"] != "zombie"]
        assert mine == []
        left = [
            path.name for path in self.token.parent.iterdir() if path.suffix in (".json", ".live", ".lease", ".state")
        ]
        assert left == []


@pytest.fixture(scope="module")
def project(root: Path, slurm: TestCluster, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project in a folder with a space in its name."""
    folder = tmp_path_factory.mktemp("the project")
    for part in PARTS:
        source, target = root / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(source.readlink())
        elif source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        else:
            shutil.copy(source, target)
    return Project(folder, slurm)


@pytest.fixture(scope="module")
def ran(project: Project) -> Project:
    """The project after one whole run on the cluster."""
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


def test_a_dry_run_shows_what_trainings_ask_for(project: Project, quiet: TestCluster) -> None:
    output = project.run("-n")
    assert "Training: mr_search on tiny, seed 3 (partition gpu: 1 nodes x 2 GPUs, 1 cores, 2000 MB, 10 min)" in output


def test_tables_are_those_of_this_machine(ran: Project) -> None:
    ran.run("--cores", "2", profile="profile/local", config=("paths={results: local}",))
    there, here = (ran.folder / name / "cluster" / "tables" for name in ("results", "local"))
    names = sorted(path.name for path in there.iterdir())
    assert names == sorted(path.name for path in here.iterdir())
    measured = [name for name in names if name.startswith("compute.")]  # times and hardware
    assert {"main.csv", "main.md", "f1.csv", "episodes.csv"} <= set(names) - set(measured)
    for name in set(names) - set(measured):
        assert (there / name).read_bytes() == (here / name).read_bytes(), name


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


def test_sigterm_lets_jobs_end_and_a_rerun_completes(ran: Project, quiet: TestCluster) -> None:
    process, _ = ran.evaluate()
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=SECONDS)
    ran.assert_nothing_left()
    ran.run()
    ran.assert_nothing_left()
    assert (ran.folder / EVALUATIONS / "tiny" / "mr_search" / "seed3" / "run.json").is_file()
