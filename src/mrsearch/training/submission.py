"""Training as a job of its own: submitted or attached to, followed by its progress, cancelled with its caller."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mrsearch.cluster.launchers import managed_launcher
from mrsearch.cluster.managed import ManagedJob, Show
from mrsearch.config import Study
from mrsearch.config.study import Resources
from mrsearch.training.steplog import StepLog, brief

PROGRESS_SECONDS = 10.0
"""Progress is shown at most this often."""


@dataclass(frozen=True)
class Placement:
    """Where a training runs, and what its job asks for."""

    scheduler: str
    """local or slurm."""
    site: Path
    resources: Resources


def submit_training(
    study: Study,
    name: str,
    method: str,
    arguments: Sequence[str],
    run_dir: Path,
    outputs: Sequence[Path],
    placement: Placement,
    show: Show,
    python: Path | None = None,
) -> None:
    """Run `mrsearch train ARGUMENTS` as the one job of `run_dir`, and return once it has made its outputs.

    Called again, by whomever, it attaches to the job that runs. JobFailed says why a training failed. `python` runs it
    in place of this one.
    """
    launcher = managed_launcher(placement.scheduler, placement.site, study.training_stage(method), placement.resources)
    job = training_job(name, arguments, run_dir, outputs, python)
    job.run(launcher, show, Progress(StepLog(run_dir, name, study.training_steps(method))))


def rendered_training(
    study: Study,
    name: str,
    method: str,
    arguments: Sequence[str],
    run_dir: Path,
    placement: Placement,
    python: Path | None = None,
) -> str:
    """The command of the job and, on Slurm, the batch script that would be submitted. Nothing is written."""
    from mrsearch.cluster.slurm import SlurmLauncher, inside_container

    job = training_job(name, arguments, run_dir, (), python)
    launcher = managed_launcher(placement.scheduler, placement.site, study.training_stage(method), placement.resources)
    if not isinstance(launcher, SlurmLauncher):
        return " ".join(job.command)
    command = inside_container(job.command, launcher.site)
    return f"{launcher.script(job.command, job.queue_name, job.log)}\n# in the job:\n# {' '.join(command)}"


def training_job(
    name: str, arguments: Sequence[str], run_dir: Path, outputs: Sequence[Path], python: Path | None = None
) -> ManagedJob:
    """The job that trains in `run_dir`."""
    command = [str(python or sys.executable), "-m", "mrsearch.cli", "train", *arguments]
    return ManagedJob(command, name, run_dir / "train.log", outputs)


def training_python(study: Study, method: str, environment: Path, placement: Placement) -> Path | None:
    """The Python that trains `method`: None for this one, or that of the environment with verl.

    ValueError where that is missing; on a site with a container, the image has it.
    """
    if not study.trained_by_verl(method):
        return None
    from mrsearch.config.site import load_site

    if placement.scheduler == "slurm" and load_site(placement.site).container is not None:
        return None
    settings = "training" if study.training_stage(method) == "train" else study.training_stage(method)
    python = environment.absolute() / "bin" / "python"
    if not python.exists():
        raise ValueError(
            f"{environment} is no virtual environment, but {settings}.backend is verl: make it with `make train-env` "
            "(on a cluster see docs/training.md), or name another in paths.train_environment"
        )
    return python


class Progress:
    """Called often, returns the newest step's line now and then."""

    def __init__(self, steps: StepLog) -> None:
        self._steps = steps
        self._shown, self._told = -1, 0.0

    def __call__(self) -> str | None:
        """A line if there is a step that was not shown, at most every PROGRESS_SECONDS."""
        if self._shown >= 0 and time.monotonic() - self._told < PROGRESS_SECONDS:
            return None
        rows = self._steps.rows()
        if not rows or rows[-1]["step"] == self._shown:
            return None
        self._shown, self._told = rows[-1]["step"], time.monotonic()
        return f"{self._steps.title} step {self._shown + 1}/{self._steps.total} {brief(rows[-1])}"
