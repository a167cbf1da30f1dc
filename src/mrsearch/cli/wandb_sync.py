"""`mrsearch wandb-sync`: offline runs, uploaded later."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def wandb_sync(
    study: Annotated[str, typer.Argument(help="Name of a study that has run.")],
    results: Annotated[Path, typer.Option(help="`paths.results` of the run.")] = Path("results"),
) -> None:
    """Report a study's evaluations to Weights & Biases, and upload its offline runs; needs its key, as `wandb login` or
    WANDB_API_KEY gives it."""
    from mrsearch.config import read_study
    from mrsearch.config.layout import StudyFolder
    from mrsearch.evaluation.tracked import report_evaluations
    from mrsearch.tracking import upload

    root = results / study
    resolved = StudyFolder(root).study
    if not resolved.is_file():
        raise ValueError(f"{root}: holds no {resolved.name}: run the study {study!r} first, or name its --results")
    report_evaluations(read_study(resolved), root)
    code = upload(root)
    if code:
        raise typer.Exit(code)
