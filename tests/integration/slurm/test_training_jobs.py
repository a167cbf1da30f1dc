"""Training on a real Slurm: whatever befalls the job, the model is that of an undisturbed run, and nothing is left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from mrsearch.config import Run, load_study, write_study

from .cluster import CPUS, GPUS, TestCluster
from .training import OVERRIDES, STUDY, Inputs, Training, wait_until

pytestmark = pytest.mark.integration


@dataclass
class Waiting:
    """Two trainings that stand still until Slurm's clocks run out, each in a partition of its own."""

    limited: Training
    limited_launcher: subprocess.Popen[str]
    losing: Training
    losing_launcher: subprocess.Popen[str]
    lost_node: str
    lost_trainer: psutil.Process


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Study, corpus, index, questions and base model."""
    from mrsearch.data.questions import read_passages, write_questions
    from mrsearch.policy.base_model import make_base
    from mrsearch.retrieval.indexes.index import build_index
    from mrsearch.retrieval.indexes.passages import build_store, corpus_texts

    folder = tmp_path_factory.mktemp("training inputs")
    study = load_study(Run(study=str(STUDY), overrides=OVERRIDES))
    write_study(study, folder / "study.json")
    build_store(read_passages(study), folder / "corpus")
    build_index(study, "dense", folder / "corpus", folder / "indexes" / "dense")
    write_questions(study, "train", folder / "train.parquet")
    make_base(study, "tiny", corpus_texts(folder / "corpus"), folder / "base")
    return Inputs(folder)


@pytest.fixture(scope="module")
def undisturbed(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """The training as a process of this machine, run to its end."""
    training = inputs.undisturbed(tmp_path_factory.mktemp("undisturbed"))
    training.finish(training.launch())
    assert min(training.gradients) > 0, "every step changes the weights"
    return training


@pytest.fixture(scope="module", autouse=True)
def waiting(inputs: Inputs, slurm: TestCluster, tmp_path_factory: pytest.TempPathFactory) -> Waiting:
    """Begun before all other cases and looked at after them, because it takes minutes in which nothing is computed."""
    # Slurm gives notice up to 30 s early, so the trainer has 50 s at least.
    keys = {"partition": "limited", "signal_seconds": 40}
    limited = inputs.training(tmp_path_factory.mktemp("time limit") / "a place", "--runtime", "2", **keys)
    losing = inputs.training(tmp_path_factory.mktemp("lost node") / "a place", partition="losing")
    with ThreadPoolExecutor() as pool:
        launchers = list(pool.map(begin_and_suspend, (limited, losing)))
    node = slurm.call("squeue", "-h", "-j", losing.job_id, "-o", "%N")
    slurm.stop_node(node)
    (trainer,) = losing.trainers()
    return Waiting(limited, launchers[0], losing, launchers[1], node, trainer)


def begin_and_suspend(training: Training) -> subprocess.Popen[str]:
    """Its launcher, once the trainer stands still after a few checkpoints."""
    launcher = training.begin()
    training.suspend()
    return launcher


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no small disk can be mounted: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_requeued_launcher_killed_and_two_launchers(
    inputs: Inputs, undisturbed: Training, quiet: TestCluster, place: Path
) -> None:
    training = inputs.training(place)
    first = training.begin()
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    job_id = training.job_id
    second, third = training.launch(), training.launch()
    quiet.call("scontrol", "requeue", job_id)
    outputs = [training.finish(second), training.finish(third)]
    assert all(f"attached to job {job_id}" in output for output in outputs)
    assert "attempt 2 of job" in training.output
    training.assert_went_on_as(undisturbed, quiet)
    assert "done before" in training.finish(training.launch())


def test_preempted_by_a_partition_of_higher_priority(
    inputs: Inputs, undisturbed: Training, quiet: TestCluster, place: Path
) -> None:
    training = inputs.training(place)
    launcher = training.begin()
    everything = ["-N2", f"--ntasks-per-node={CPUS}", f"--gres=gpu:{GPUS}"]
    urgent = quiet.call("sbatch", "--parsable", "-p", "urgent", *everything, "-o", "/dev/null", "--wrap", "sleep 3")
    output = training.finish(launcher)
    assert quiet.call("squeue", "-h", "-t", "all", "-j", urgent, "-o", "%T") == "COMPLETED"
    assert "PENDING" in output
    assert "attempt 2 of job" in training.output
    training.assert_went_on_as(undisturbed, quiet)


def test_full_disk_is_named_and_room_lets_it_go_on(
    inputs: Inputs, undisturbed: Training, quiet: TestCluster, small_disk: Path
) -> None:
    training = inputs.training(small_disk / "a place")
    launcher = training.begin()
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space left"), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1024))
    output = training.finish(launcher, status=1)
    assert "is full: make room and run again" in output
    training.assert_nothing_left(quiet)
    ballast.unlink()
    training.finish(training.launch())
    training.assert_went_on_as(undisturbed, quiet)


def test_interrupt_cancels_and_a_closed_terminal_does_not(
    inputs: Inputs, undisturbed: Training, quiet: TestCluster, place: Path
) -> None:
    training = inputs.training(place)
    launcher = training.begin()
    os.killpg(launcher.pid, signal.SIGHUP)
    launcher.communicate(timeout=30)
    job_id = training.job_id
    assert quiet.jobs() == [job_id]
    launcher = training.launch()
    assert launcher.stdout is not None and f"attached to job {job_id}" in launcher.stdout.readline()
    for _ in range(3):  # an impatient user
        os.killpg(launcher.pid, signal.SIGINT)
        time.sleep(0.1)
    assert f"cancelled job {job_id}" in training.finish(launcher, status=128 + signal.SIGINT)
    training.assert_nothing_left(quiet)
    training.finish(training.launch())
    training.assert_went_on_as(undisturbed, quiet)


def test_interrupt_during_the_submission_leaves_no_job(inputs: Inputs, quiet: TestCluster, place: Path) -> None:
    slow = place / "bin" / "sbatch"
    slow.parent.mkdir()
    slow.write_text(f'#!/bin/sh\ntouch "{place}/asked"\nsleep 1\nexec "{shutil.which("sbatch")}" "$@"\n')
    slow.chmod(0o755)
    training = inputs.training(place)
    launcher = training.launch(PATH=f"{slow.parent}{os.pathsep}{os.environ['PATH']}")
    wait_until((place / "asked").exists, "the submission has begun")
    os.killpg(launcher.pid, signal.SIGINT)
    output = training.finish(launcher, status=128 + signal.SIGINT)
    assert f"cancelled job {training.job_id}" in output
    assert quiet.call("squeue", "-h", "-t", "all", "-j", training.job_id, "-o", "%T") == "CANCELLED"
    training.assert_nothing_left(quiet)


def test_too_many_interruptions_and_a_cancelled_job_end_with_the_reason(
    inputs: Inputs, quiet: TestCluster, place: Path
) -> None:
    training = inputs.training(place, max_requeues=0)
    launcher = training.launch()
    training.reach(5, launcher)
    quiet.call("scontrol", "requeue", training.job_id)
    output = training.finish(launcher, status=1)
    assert "was interrupted 1 times, more often than max_requeues (0)" in output
    launcher = training.launch()
    wait_until(lambda: "attempt 1 of job" in training.output and quiet.jobs(), "it runs again")
    quiet.call("scancel", *quiet.jobs())
    assert "the job ended as CANCELLED" in training.finish(launcher, status=1)
    training.assert_nothing_left(quiet)


def test_what_the_site_cannot_run_is_named_before_anything_is_submitted(
    inputs: Inputs, quiet: TestCluster, place: Path
) -> None:
    training = inputs.training(place, "--gpus", "9")
    output = training.finish(training.launch(), status=2)
    assert "resources.warm_start.gpus (9) is more than partitions.gpu.gpus (4)" in output
    assert quiet.jobs("-t", "all", "-n", "tiny-warm_start-seed3") == []
    assert not (training.run_dir / "train.job" / "state.json").exists()


def test_lost_node_never_lets_two_trainers_write(waiting: Waiting, undisturbed: Training, slurm: TestCluster) -> None:
    training = waiting.losing
    training.finish(waiting.losing_launcher)
    assert not waiting.lost_trainer.is_running()
    assert "attempt 2 of job" in training.output
    assert "was replaced: ended" in training.output
    training.assert_went_on_as(undisturbed, slurm, "losing")
    slurm.start_node(waiting.lost_node)
    wait_until(lambda: slurm.node_states("losing") == ["idle"] * 2, "the node is back")


def test_time_limit_goes_on_from_the_checkpoint(waiting: Waiting, undisturbed: Training, slurm: TestCluster) -> None:
    training = waiting.limited
    training.finish(waiting.limited_launcher)
    assert "asked to stop: preempted, or near the time limit" in training.output
    assert "attempt 2 of job" in training.output
    training.assert_went_on_as(undisturbed, slurm, "limited")
