"""A copy of the project that runs on the test cluster, as a user would run it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil

from .cluster import TestCluster
from .training import SECONDS, wait_until

BIN = Path(sys.executable).parent
PARTS = ("Snakefile", "config", "rules", "profile", "profiles", "slurm", "workflow", "envs", "tests/integration/slurm")
STUDY = "study=tests/integration/slurm/study.yaml"
SITE = "site=tests/integration/slurm/site.yaml"
# Snakemake as it is, but for one thing: the Slurm executor waits 10 s longer after every look at the queue that finds
# no finished job, and no option changes that. A test cluster may be asked every second.
SNAKEMAKE = """\
import sys
from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
RemoteExecutor.next_seconds_between_status_checks = property(lambda self: 1, lambda self, seconds: None)
sys.exit(main())
"""
POLLING = ["--slurm-init-seconds-before-status-checks=1", "--latency-wait=10"]
EVALUATIONS = "results/cluster/eval"


class Project:
    """A copy of the project, run on the cluster."""

    def __init__(self, folder: Path, cluster: TestCluster) -> None:
        self.folder, self.cluster = folder, cluster
        self.endpoint_file = folder / "results" / "cluster" / "service" / "dense.json"
        self.snakemake = folder / "bin" / "snakemake"
        self.snakemake.parent.mkdir()
        self.snakemake.write_text(SNAKEMAKE)
        # The checkout's folder may have a space in its name, which Snakemake's Slurm executor cannot deal with.
        environment = cluster.root / "environment"
        if not environment.exists():
            environment.symlink_to(sys.prefix)
        self.python = environment / "bin" / Path(sys.executable).name

    def start(self, *arguments: str, profile: str = "slurm", config: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Snakemake in a process group of its own."""
        program: list[object] = [self.python, self.snakemake, *POLLING] if profile == "slurm" else [BIN / "snakemake"]
        paths = f'paths={{"gpu_environment": "{self.python.parent.parent}"}}'
        command = [*program, "--profile", profile, *arguments, "--config", STUDY, SITE, paths, *config]
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

    def run(self, *arguments: str) -> str:
        """Run to the end; returns the output."""
        return finish(self.start(*arguments))

    def start_evaluations(self) -> subprocess.Popen[str]:
        """Evaluate anew."""
        shutil.rmtree(self.folder / EVALUATIONS, ignore_errors=True)
        return self.start("--retries", "0", "evaluations")

    def evaluate(self) -> tuple[subprocess.Popen[str], list[str]]:
        """Evaluate anew; returns Snakemake and the evaluations' jobs once one of them runs."""
        before = set(self.consumers("all"))
        process = self.start_evaluations()

        def running() -> bool:
            assert process.poll() is None, process.communicate()[0]
            return bool(set(self.consumers("RUNNING")) - before)

        wait_until(running, "an evaluation runs")
        return process, sorted(set(self.consumers("all")) - before)

    def jobs_of(self, rule: str, states: str) -> list[str]:
        """Ids of a rule's jobs."""
        lines = self.cluster.call("squeue", "-h", "-t", states, "-o", "%A %k").splitlines()
        return [line.split()[0] for line in lines if f"rule_{rule}" in line]

    def consumers(self, states: str) -> list[str]:
        """Ids of the evaluations' jobs."""
        return self.jobs_of("evaluate", states)

    def server(self) -> str:
        """Id of the retriever's job."""
        (job,) = self.cluster.jobs("-n", "retriever")
        return job

    def assert_nothing_left(self) -> None:
        """No job, no process of the service, no endpoint_file."""
        assert self.cluster.jobs() == []
        running = [each.info for each in psutil.process_iter(["pid", "cmdline", "status"])]
        mine = [
            each
            for each in running
            if str(self.endpoint_file) in (each["cmdline"] or []) and each["status"] != "zombie"
        ]
        assert mine == []
        left = [
            path.name
            for path in self.endpoint_file.parent.iterdir()
            if path.suffix in (".json", ".live", ".lease", ".state")
        ]
        assert left == []


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for the end of a run that succeeds; returns its output."""
    output, _ = process.communicate(timeout=4 * SECONDS)
    assert process.returncode == 0, output
    return output


def copied(root: Path, folder: Path) -> Path:
    """The parts of the project that a run needs."""
    for part in PARTS:
        source, target = root / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(source.readlink())
        elif source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        else:
            shutil.copy(source, target)
    return folder
