"""Short jobs on a cluster that misbehaves: the run ends by itself, with the records of an undisturbed one.

MRSEARCH_OUTAGE_SECONDS makes the controller's absences longer: `60,180,600`. MRSEARCH_BAD_DAYS=all adds the other
ways of preemption, preempted index builds and variables that filter queues. MRSEARCH_SLURM_ACCOUNTING=1 gives the
cluster accounting. The whole matrix is these three together, and again without the last.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from mrsearch.cluster import queue

from .cluster import NODES, PREEMPTED, TestCluster
from .project import EVALUATIONS, Project, finish
from .training import site_with, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(2400)]
OUTAGES = [float(seconds) for seconds in os.environ.get("MRSEARCH_OUTAGE_SECONDS", "25").split(",")]
RECORDS = "results/cluster/eval"
INDEX = "results/cluster/index/dense"
URGENT = ["sbatch", "-p", "urgent", "-N2", "--exclusive", "--parsable", "-o", "/dev/null", "--wrap", "sleep 3"]
HOW = ("gpu", *PREEMPTED)
"""Partitions whose jobs make way: requeued with a grace time, without, cancelled without, with one."""
SHORT_BEFORE = {"StartTime": -50, "EndTime": -20}
"""Seconds from now of a reservation whose time has just passed; Slurm takes no older ones."""
ALL = os.environ.get("MRSEARCH_BAD_DAYS") == "all"
ACCOUNTING = bool(os.environ.get("MRSEARCH_SLURM_ACCOUNTING"))


def records(project: Project) -> dict[str, str]:
    """Digest of every record file."""
    files = (project.folder / EVALUATIONS).rglob("*.jsonl.zst")
    return {str(file.relative_to(project.folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def undisturbed(project: Project) -> dict[str, str]:
    """Records of one undisturbed evaluation, after which only evaluations have to be repeated."""
    project.run("evaluations")
    return records(project)


@dataclass
class Held:
    """Jobs of one run that go no further while they are held, so that an urgent job always comes in time."""

    project: Project
    folder: Path
    partition: str

    @property
    def site(self) -> str:
        """A site whose evaluations and indexes run where others may push them out; the retriever is left alone."""
        partitions = {name: {"cores": 8, "mem_mb": 16000, "nodes": 2, "gpus": 4, "gpu_mem_mb": 8000} for name in HOW}
        partitions["limited"] = {"cores": 8, "mem_mb": 16000, "gpus": 4, "gpu_mem_mb": 8000}
        stages = {"evaluate": self.partition, "index": self.partition}
        reached, hold = (shlex.quote(str(self.folder / name)) for name in ("reached", "hold"))
        wait = f"echo >> {reached}; while test -e {hold}; do sleep 0.1; done"
        setup = [f'case "${{SLURMD_NODENAME:-}}" in {"|".join(NODES)}) {wait};; esac']
        file = site_with(self.folder, partition="limited", partitions=partitions, stages=stages, setup=setup)
        return f"site={file}"

    def push_out(self, rule: str, count: int, process: subprocess.Popen[str]) -> None:
        """Once `count` jobs of the rule have come as far as its command, let an urgent job take their nodes."""
        reached, cluster = self.folder / "reached", self.project.cluster

        def attempted() -> bool:
            assert process.poll() is None, process.communicate()[0]
            return reached.exists() and len(reached.read_text().splitlines()) == count

        wait_until(attempted, "new attempts run")
        assert len(self.project.jobs_of(rule, "RUNNING")) == count
        urgent = cluster.call(*URGENT)
        state = ("squeue", "-h", "-t", "all", "-j", urgent, "-o", "%T")
        wait_until(lambda: cluster.call(*state) != "PENDING", "way is made")
        reached.unlink()  # nobody is left who could write it, and nobody starts while the urgent job runs
        wait_until(lambda: cluster.call(*state) == "COMPLETED", "the urgent job has run")

    def release(self) -> None:
        """Let the next attempts go on."""
        (self.folder / "hold").unlink()


def held(project: Project, partition: str, folder: Path) -> Held:
    """Jobs of that partition, held."""
    (folder / "hold").touch()
    return Held(project, folder, partition)


@pytest.mark.parametrize("seconds", OUTAGES)
def test_a_controller_that_is_away_ends_nothing(
    project: Project, undisturbed: dict[str, str], quiet: TestCluster, seconds: float
) -> None:
    process, _ = project.evaluate()
    quiet.stop_controller()
    try:
        time.sleep(seconds)
        assert process.poll() is None
    finally:
        quiet.start_controller()
    output = finish(process)
    assert "Slurm cannot be asked about the jobs" in output and "Slurm answers again" in output
    assert records(project) == undisturbed
    project.assert_nothing_left()


@pytest.mark.parametrize("partition", HOW if ALL else ("cancelled",))
def test_preempted_evaluations_are_repeated_and_no_failure(
    project: Project, undisturbed: dict[str, str], quiet: TestCluster, partition: str, place: Path
) -> None:
    shutil.rmtree(project.folder / EVALUATIONS, ignore_errors=True)
    jobs = held(project, partition, place)
    process = project.start("--retries", "0", "evaluations", config=(jobs.site,))
    for _ in range(2):
        jobs.push_out("evaluate", 2, process)
    jobs.release()
    output = finish(process)
    assert "was preempted" in output
    assert records(project) == undisturbed
    assert quiet.jobs(partition=f"limited,{','.join(HOW)}") == []


if ALL:

    @pytest.mark.parametrize("partition", HOW)
    def test_a_preempted_index_is_built_again(
        project: Project, quiet: TestCluster, partition: str, place: Path
    ) -> None:
        index = project.folder / INDEX
        project.run(INDEX)
        before = {file.name: file.read_bytes() for file in index.iterdir() if file.suffix == ".faiss"}
        shutil.rmtree(index)
        jobs = held(project, partition, place)
        process = project.start("--retries", "0", INDEX, config=(jobs.site,))
        for _ in range(2):
            jobs.push_out("index", 1, process)
        jobs.release()
        output = finish(process)
        assert "was preempted" in output
        assert {file.name: file.read_bytes() for file in index.iterdir() if file.suffix == ".faiss"} == before

    def test_variables_that_filter_queues_hide_no_job(
        project: Project, undisturbed: dict[str, str], quiet: TestCluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("PARTITION", "QOS", "ACCOUNT", "USERS", "NAMES", "STATES", "FORMAT", "LICENSES"):
            monkeypatch.setenv(f"SQUEUE_{name}", "nothing")
        for name in ("SACCT_FORMAT", "SCANCEL_NAME", "SCANCEL_PARTITION", "SINFO_PARTITION", "SLURM_TIME_FORMAT"):
            monkeypatch.setenv(name, "nothing")
        process = project.start_evaluations()
        finish(process)
        assert records(project) == undisturbed

    @pytest.mark.parametrize("seconds", [0, 1])
    def test_two_runs_of_one_evaluation_end_with_its_records(
        project: Project, undisturbed: dict[str, str], quiet: TestCluster, seconds: float
    ) -> None:
        """Two runs submit the same jobs: as after a kill, or from two checkouts of one results folder."""
        first = project.start_evaluations()
        time.sleep(seconds)
        second = project.start("--retries", "0", "--nolock", "--rerun-incomplete", "evaluations")
        outputs = [finish(process) for process in (first, second)]
        assert sum("Rule: evaluate" in output for output in outputs) == 2, "both submitted evaluations"
        assert records(project) == undisturbed
        project.assert_nothing_left()

    def test_jobs_of_a_deleted_reservation_are_waited_for(
        project: Project, undisturbed: dict[str, str], quiet: TestCluster, place: Path
    ) -> None:
        reservation = (
            "ReservationName=soon",
            "StartTime=now+3600",
            "Duration=60",
            "Users=root",
            "Nodes=ALL",
            "Flags=IGNORE_JOBS",
        )
        quiet.call("scontrol", "create", "reservation", *reservation)
        shutil.rmtree(project.folder / EVALUATIONS, ignore_errors=True)
        site = f"site={site_with(place, sbatch={'reservation': 'soon'})}"
        process = project.start("--retries", "0", "evaluations", config=(site,))

        def let_go(job: str) -> None:
            quiet.call("scontrol", "update", f"JobId={job}", "ReservationName=")

        wait_until(lambda: quiet.jobs("-t", "PENDING"), "the retriever's job waits for the reservation")
        let_go(project.server())
        wait_until(lambda: len(project.consumers("PENDING")) == 2, "the evaluations wait for it")
        # Slurm deletes no reservation that jobs wait for; it deletes one whose time is over.
        times = {name: datetime.now() + timedelta(seconds=seconds) for name, seconds in SHORT_BEFORE.items()}
        over = [f"{name}={time:%Y-%m-%dT%H:%M:%S}" for name, time in times.items()]
        quiet.call("scontrol", "update", "ReservationName=soon", *over)
        held: set[str] = set()

        def goes_on() -> bool:
            for job in project.consumers("all"):
                if quiet.call("squeue", "-h", "-t", "all", "-j", job, "-o", "%T") == "RESV_DEL_HOLD":
                    held.add(job)
                    let_go(job)
                    quiet.call("scontrol", "release", job)
            return process.poll() is not None

        wait_until(goes_on, "the run ends")
        finish(process)
        assert len(held) == 2, "Slurm held the jobs of the reservation"
        assert records(project) == undisturbed
        project.assert_nothing_left()


if ACCOUNTING:

    def test_accounting_tells_what_the_controller_forgot(quiet: TestCluster) -> None:
        job = quiet.call("sbatch", "--parsable", "-o", "/dev/null", "--comment", "mine", "--wrap", "true")

        def forgotten() -> bool:
            try:
                return not quiet.call("squeue", "-h", "-t", "all", "-j", job)
            except subprocess.SubprocessError as error:
                return "Invalid job id" in str(error)

        wait_until(forgotten, "the controller forgets")
        state = queue.job_state(job)
        assert state is not None and (state.name, state.belongs("wrap", "mine")) == ("COMPLETED", True)
        assert queue.job_state("999999") is None
        quiet.stop_accounting()
        states = queue.job_states([job])
        assert isinstance(states[job], queue.SlurmError)
