"""Options that say where a long job runs."""

from __future__ import annotations

import contextlib
import enum
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer


class Scheduler(enum.StrEnum):
    """Where a command's work is done."""

    in_process = "here"
    """In this process."""
    local = "local"
    """In a process of this machine that outlives its caller."""
    slurm = "slurm"
    """In a Slurm job."""


SITE = Path("config/site.yaml")
Where = Annotated[Scheduler, typer.Option(help="In this process, in one of its own, or in a Slurm job.")]
Site = Annotated[Path, typer.Option(help="The cluster's site file; read for --scheduler slurm.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU cores per node; default: the study's.")]
Memory = Annotated[int | None, typer.Option(min=1, help="Memory per node in MB; default: the study's.")]
Runtime = Annotated[int | None, typer.Option(min=1, help="Time limit in minutes; default: the study's.")]
Gpus = Annotated[int | None, typer.Option(min=0, help="GPUs per node; default: the study's.")]
Nodes = Annotated[int | None, typer.Option(min=1, help="Nodes; default: the study's.")]
TrainEnvironment = Annotated[Path, typer.Option(help="Virtual environment with verl, for trainings without GPUs.")]
TRAIN_ENVIRONMENT = Path(".venv-train")
GpuEnvironment = Annotated[Path, typer.Option(help="Virtual environment of jobs with GPUs.")]
GPU_ENVIRONMENT = Path(".venv-gpu")
RetrieverEnvironment = Annotated[
    Path | None,
    typer.Option(help="Virtual environment of a server with GPUs, for FAISS's indexes; default: that of other jobs."),
]


JobGpuEnvironment = Annotated[
    Path | None,
    typer.Option(help="Virtual environment to run in where the stage has GPUs; without it, this command's."),
]
JobSite = Annotated[
    Path | None, typer.Option(help="Site file whose container takes the environment's place, if it has one.")
]


@contextlib.contextmanager
def failures_told() -> Iterator[None]:
    """A job that fails, and a signal, end the command with a message and the shell's status in place of a traceback."""
    from mrsearch.cluster.managed import JobFailed
    from mrsearch.cluster.queue import SlurmError
    from mrsearch.cluster.signals import Signalled

    try:
        yield
    except (JobFailed, SlurmError) as failed:
        typer.secho(f"mrsearch: {failed}", fg="red", err=True)
        raise typer.Exit(1) from None
    except Signalled as signalled:
        raise typer.Exit(128 + signalled.signum) from None


def run_on_gpus(
    command: Sequence[str], options: Mapping[str, object], environment: Path, site: Path | None
) -> NoReturn:
    """Go on as `mrsearch COMMAND` in the environment for GPUs, or in the site's container: this process becomes it."""
    from mrsearch.cluster.commands import option_words
    from mrsearch.cluster.environments import command_on_gpus, tools_first
    from mrsearch.config.site import load_site

    arguments = ["-m", "mrsearch.cli", *command, *option_words(options)]
    words = command_on_gpus(arguments, environment, None if site is None else load_site(site))
    variables = tools_first(os.environ, words[0]) if Path(words[0]).is_absolute() else dict(os.environ)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvpe(words[0], words, variables)
