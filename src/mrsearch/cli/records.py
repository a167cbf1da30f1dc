"""`mrsearch records`: files of meta-episodes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Files of meta-episodes.")


@app.callback()
def _group() -> None:
    """One command for now, by its own name."""


@app.command()
def convert(
    results: Annotated[Path, typer.Argument(help="Folder of a study's results, such as results/paper.")],
) -> None:
    """Bring records of earlier versions into today's form, and write the scores that are missing beside them."""
    from mrsearch.evaluation.conversion import convert_results

    converted, scored = convert_results(results)
    typer.echo(f"{results}: {converted} files of records converted, {scored} files of scores written")
