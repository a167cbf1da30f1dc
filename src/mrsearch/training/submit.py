"""Training as a job of its own: submitted or attached to, followed by its progress, cancelled with its caller."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mrsearch.cluster.environments import gpu_python, python_of
from mrsearch.cluster.launchers import managed_launcher
from mrsearch.cluster.managed import ManagedJob, Show
from mrsearch.config import Study
from mrsearch.config.resources import Resources
from mrsearch.training.log import TrainingLog
from mrsearch.training.outlook import Budget
from mrsearch.training.run import TrainingRun
from mrsearch.training.start_up import FIRST_STEP, StartUp

PROGRESS_SECONDS = 10.0
"""Progress is shown at most this often."""


@dataclass(frozen=True)
class JobTarget:
    """Where a training runs, and what its job asks for."""

    scheduler: str
    """local or slurm."""
    site: Path
    resources: Resources


def job_target(run: TrainingRun, scheduler: str, site: Path, resources: Mapping[str, int | None]) -> JobTarget:
    """Where the run's job goes; `resources` replace what the study asks for, but for those that are None."""
    changes = {name: value for name, value in resources.items() if value is not None}
    return JobTarget(scheduler, site, getattr(run.study.resources, run.stage).model_copy(update=changes))


def submit_training(
    run: TrainingRun, arguments: Sequence[str], target: JobTarget, show: Show, python: Path | None = None
) -> None:
    """Run `mrsearch train ARGUMENTS` as the one job of the run's folder, and return once it has made its outputs.

    Called again, by whomever, it attaches to the job that runs. JobFailed says why a training failed. `python` runs it
    in place of this one.
    """
    launcher = managed_launcher(target.scheduler, target.site, run.stage, target.resources)
    job = training_job(run, arguments, python)
    job.run(launcher, show, ProgressLine(TrainingLog(run.folder, run.reference, Budget.of(run))))


def rendered_training(run: TrainingRun, arguments: Sequence[str], target: JobTarget, python: Path | None = None) -> str:
    """The command of the job, on Slurm the batch script that would be submitted, and the study. Nothing is written."""
    from mrsearch.cluster.slurm import SlurmLauncher

    job = training_job(run, arguments, python)
    launcher = managed_launcher(target.scheduler, target.site, run.stage, target.resources)
    text = " ".join(job.command)
    if isinstance(launcher, SlurmLauncher):
        command = " ".join(launcher.command_in_job(job.command))
        text = f"{launcher.script(job.command, job.queue_name, job.log)}\n# in the job:\n# {command}"
    return f"{text}\n\n# study\n{run.study.model_dump_json(indent=2)}"


def training_job(run: TrainingRun, arguments: Sequence[str], python: Path | None = None) -> ManagedJob:
    """The job that trains in the run's folder."""
    command = [str(python or sys.executable), "-m", "mrsearch.cli", "train", *arguments]
    outputs = (run.out.model, run.out.log, run.out.record)
    return ManagedJob(command, run.reference, run.folder / "train.log", outputs)


def training_python(
    study: Study, method: str, gpu_environment: Path, train_environment: Path, target: JobTarget
) -> Path | None:
    """The Python that trains `method`: of the environment for GPUs where its job has some, else of the one with verl
    where verl trains, else None for this one.

    ValueError where that is missing; on a site with a container, the image has it for jobs with GPUs.
    """
    if target.resources.gpus:
        from mrsearch.config.site import load_site

        if target.scheduler == "slurm" and load_site(target.site).container is not None:
            return None
        return gpu_python(gpu_environment)
    if study.trained_by_verl(method):
        return python_of(train_environment, "train_environment", "train-env")
    return None


class ProgressLine:
    """Called often, returns the newest step's line now and then, and before the first one the phases of the start."""

    def __init__(self, steps: TrainingLog) -> None:
        self._steps, self._start_up = steps, StartUp(steps.path.parent)
        self._shown, self._shown_at, self._phase = -1, 0.0, ""

    def __call__(self) -> str | None:
        """A line if there is a step that was not shown, at most every PROGRESS_SECONDS, or a phase that has ended."""
        phases = self._start_up.phases() if self._shown < 0 else []
        if phases and phases[-1].name not in (self._phase, FIRST_STEP):
            self._phase = phases[-1].name
            return f"{self._steps.title} starts: {self._phase} after {phases[-1].since:.0f} s"
        if self._shown >= 0 and time.monotonic() - self._shown_at < PROGRESS_SECONDS:
            return None
        rows = self._steps.rows()
        if not rows or rows[-1]["step"] == self._shown:
            return None
        self._shown, self._shown_at = rows[-1]["step"], time.monotonic()
        return self._steps.line(rows)
