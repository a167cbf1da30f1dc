"""Training on a real Slurm: whatever befalls the job, the model is that of an undisturbed run, and nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrsearch.config import Run, load_study, write_study
from mrsearch.config.load import read_yaml

from .cluster import CPUS, GPUS, NODES, TestCluster
from .training import OVERRIDES, SITE, STUDY, Inputs, Training, wait_until

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Study, corpus, index, questions and base model."""
    from mrsearch.data.questions import read_passages, write_questions
    from mrsearch.retrieval.indexes import build_index
    from mrsearch.retrieval.passages import build_store
    from mrsearch.training.base_model import make_base

    folder = tmp_path_factory.mktemp("training inputs")
    study = load_study(Run(study=str(STUDY), overrides=OVERRIDES))
    write_study(study, folder / "study.json")
    build_store(read_passages(study), folder / "corpus")
    build_index(study, "dense", folder / "corpus", folder / "indexes" / "dense")
    write_questions(study, "train", folder / "train.parquet")
    make_base(study, "tiny", folder / "corpus", folder / "base")
    return Inputs(folder)


@pytest.fixture(scope="module")
def undisturbed(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """The training as a process of this machine, run to its end."""
    training = inputs.undisturbed(tmp_path_factory.mktemp("undisturbed"))
    training.finish(training.launch())
    assert min(training.gradients) > 0, "every step changes the weights"
    return training


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


def site_with(place: Path, **keys: object) -> Path:
    """The site with other values."""
    import yaml

    path = place / "site.yaml"
    path.write_text(yaml.safe_dump(read_yaml(SITE) | keys))
    return path


def test_requeued_launcher_killed_and_two_launchers(
    inputs: Inputs, undisturbed: Training, quiet: TestCluster, place: Path
) -> None:
    training = inputs.training(place)
    first = training.launch()
    training.reach(15, first)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    job_id = training.job_id
    second, third = training.launch(), training.launch()
    quiet.call("scontrol", "requeue", job_id)
    outputs = [training.finish(second), training.finish(third)]
    assert all(f"attached to job {job_id}" in output for output in outputs)
    assert "attempt 2 of job" in training.output
    assert training.result() == undisturbed.result()
    training.assert_nothing_left(quiet)
    assert "done before" in training.finish(training.launch())


def test_preempted_by_a_partition_of_higher_priority(
    inputs: Inputs, undisturbed: Training, quiet: TestCluster, place: Path
) -> None:
    training = inputs.training(place)
    launcher = training.launch()
    training.reach(15, launcher)
    everything = [f"-N{len(NODES)}", f"--ntasks-per-node={CPUS}", f"--gres=gpu:{GPUS}"]
    urgent = quiet.call("sbatch", "--parsable", "-p", "urgent", *everything, "-o", "/dev/null", "--wrap", "sleep 3")
    output = training.finish(launcher)
    assert quiet.call("squeue", "-h", "-t", "all", "-j", urgent, "-o", "%T") == "COMPLETED"
    assert "PENDING" in output
    assert "attempt 2 of job" in training.output
    assert training.result() == undisturbed.result()
    training.assert_nothing_left(quiet)


def test_time_limit_goes_on_from_the_checkpoint(
    inputs: Inputs, undisturbed: Training, quiet: TestCluster, place: Path
) -> None:
    # Slurm gives notice up to 30 s early, so the trainer has 50 s at least.
    training = inputs.training(place, "--runtime", "2", site=site_with(place, signal_seconds=40))
    launcher = training.launch()
    training.reach(15, launcher)
    training.suspend()
    training.finish(launcher)
    assert "attempt 2 of job" in training.output
    assert training.result() == undisturbed.result()
    training.assert_nothing_left(quiet)


def test_lost_node_never_lets_two_trainers_write(
    inputs: Inputs, undisturbed: Training, quiet: TestCluster, place: Path
) -> None:
    training = inputs.training(place)
    launcher = training.launch()
    training.reach(15, launcher)
    node = quiet.call("squeue", "-h", "-j", training.job_id, "-o", "%N")
    try:
        quiet.stop_node(node)
        training.suspend()
        (lost,) = training.trainers()
        training.finish(launcher)
        assert not lost.is_running()
        assert "was replaced: ended" in training.output
        assert training.result() == undisturbed.result()
        training.assert_nothing_left(quiet)
    finally:
        quiet.start_node(node)
        wait_until(lambda: quiet.call("sinfo", "-h", "-N", "-p", "gpu", "-o", "%T").split() == ["idle"] * 2, "nodes")


def test_full_disk_is_named_and_room_lets_it_go_on(
    inputs: Inputs, undisturbed: Training, quiet: TestCluster, small_disk: Path
) -> None:
    training = inputs.training(small_disk / "a place")
    launcher = training.launch()
    training.reach(15, launcher)
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space left"), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1024))
    output = training.finish(launcher, status=1)
    assert "is full: make room and run again" in output
    training.assert_nothing_left(quiet)
    ballast.unlink()
    training.finish(training.launch())
    assert training.result() == undisturbed.result()
    training.assert_nothing_left(quiet)


def test_interrupt_cancels_and_a_closed_terminal_does_not(
    inputs: Inputs, undisturbed: Training, quiet: TestCluster, place: Path
) -> None:
    training = inputs.training(place)
    launcher = training.launch()
    training.reach(5, launcher)
    training.reach(5, launcher)
    os.killpg(launcher.pid, signal.SIGHUP)
    launcher.communicate(timeout=30)
    job_id = training.job_id
    assert quiet.jobs() == [job_id]
    launcher = training.launch()
    assert launcher.stdout is not None and f"attached to job {job_id}" in launcher.stdout.readline()
    os.killpg(launcher.pid, signal.SIGINT)
    assert f"cancelled job {job_id}" in training.finish(launcher, status=128 + signal.SIGINT)
    training.assert_nothing_left(quiet)
    training.finish(training.launch())
    assert training.result() == undisturbed.result()


def test_too_many_interruptions_and_a_cancelled_job_end_with_the_reason(
    inputs: Inputs, quiet: TestCluster, place: Path
) -> None:
    training = inputs.training(place, site=site_with(place, max_requeues=0))
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
