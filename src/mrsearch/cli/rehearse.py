"""`mrsearch rehearse`: every link of a study's chain, tried on this machine before anyone pays for the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mrsearch.cli import scheduler as placement


def rehearse(
    name: Annotated[str, typer.Argument(help="A study's name, or the path of its YAML or JSON file.")] = "demo",
    model: Annotated[str | None, typer.Option(help="Model whose shape is rehearsed; default: the largest.")] = None,
    batch: Annotated[int, typer.Option(min=2, help="Questions of a training step, at most.")] = 64,
    out: Annotated[Path, typer.Option(help="Folder of the rehearsal, made anew.")] = Path("results/rehearsal"),
    scheduler: placement.Where = placement.Scheduler.in_process,
    site: placement.Site = placement.SITE,
    run: Annotated[
        str | None, typer.Option(help="The run's keys as JSON, as in config/config.yaml; replaces NAME.")
    ] = None,
) -> None:
    """Run a study in small with random weights of its real shapes: environment, retriever, generator, training,
    checkpoint, resume, export, evaluation, report.

    Each link prints pass or the reason why not, and what it measured; from these follows how long the study takes. With
    --scheduler slurm it is one job with the resources of the study's trainings, on one node.
    """
    import json

    from mrsearch.config import load_run, load_study
    from mrsearch.rehearsal.run import rehearsal_of, rehearse
    from mrsearch.rehearsal.submit import submit_rehearsal

    loaded = load_run(json.loads(run) if run else {"study": name})
    study = load_study(loaded)
    rehearsal = rehearsal_of(study, loaded, model, batch, out)
    if scheduler is placement.Scheduler.in_process:
        with placement.failures_told():
            passed = rehearse(study, rehearsal, typer.echo)
        if not passed:
            raise typer.Exit(1)
        return
    options = ["--batch", str(batch), "--out", str(out), *(["--model", model] if model else [])]
    arguments = ["--run", loaded.model_dump_json(), *options]
    with placement.failures_told():
        submit_rehearsal(study, rehearsal, arguments, str(scheduler), site, typer.echo)
