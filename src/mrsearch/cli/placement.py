"""Options that say where a long job runs, and the training that runs there."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer


class Scheduler(enum.StrEnum):
    """Where a command's work is done."""

    here = "here"
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
Environment = Annotated[Path, typer.Option(help="Virtual environment with verl, for training.backend: verl.")]
ENVIRONMENT = Path(".venv-train")


def train_elsewhere(
    names: dict[str, str],
    paths: dict[str, Path | None],
    scheduler: Scheduler,
    site: Path,
    asked: dict[str, int | None],
    environment: Path,
    dry_run: bool,
) -> None:
    """Submit the training, or print what would be submitted."""
    from mrsearch.cluster.managed import JobFailed
    from mrsearch.cluster.queue import SlurmError
    from mrsearch.cluster.signals import Signalled
    from mrsearch.config import read_study
    from mrsearch.training.submission import Placement, rendered_training, submit_training, training_python

    study, method = read_study(names["study"]), names["method"]
    if method not in study.methods:
        raise ValueError(f"--method ({method!r}) is not a method of {study.name}: known are {', '.join(study.methods)}")
    given = {key: value for key, value in asked.items() if value is not None}
    resources = getattr(study.resources, study.training_stage(method)).model_copy(update=given)
    placed = Placement(str(scheduler), site, resources)
    title = f"{names['model']}-{method}-seed{names['seed']}"
    files = {key: path for key, path in paths.items() if path is not None}
    arguments = [f"--{key.replace('_', '-')}={value}" for key, value in [*names.items(), *files.items()]]
    python = training_python(study, method, environment, placed)
    if dry_run:
        typer.echo(rendered_training(study, title, method, arguments, files["run_dir"], placed, python))
        typer.echo(f"\n# study\n{study.model_dump_json(indent=2)}")
        return
    outputs = [files[name] for name in ("out", "log", "run")]
    try:
        submit_training(study, title, method, arguments, files["run_dir"], outputs, placed, typer.echo, python)
    except (JobFailed, SlurmError) as failed:
        typer.secho(f"mrsearch: {failed}", fg="red", err=True)
        raise typer.Exit(1) from None
    except Signalled as signalled:
        raise typer.Exit(128 + signalled.signum) from None
