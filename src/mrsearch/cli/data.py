"""`mrsearch data`: questions and passages."""

from __future__ import annotations

from typing import Annotated

import typer

from mrsearch.cli import options

app = typer.Typer(no_args_is_help=True, help="Questions and passages.")


@app.command()
def questions(
    study: options.Study,
    dataset: Annotated[str, typer.Option(help='"train" or a benchmark of the study.')],
    out: options.Out,
) -> None:
    """Write the questions of the training set or of a benchmark as parquet, in verl's row schema."""
    from mrsearch.config import read_study
    from mrsearch.data.questions import write_questions

    write_questions(read_study(study), dataset, out)


@app.command()
def corpus(study: options.Study, out: options.Out) -> None:
    """Write the study's passages into a memory-mapped store."""
    from mrsearch.config import read_study
    from mrsearch.data.questions import read_passages
    from mrsearch.retrieval.passages import build_store

    build_store(read_passages(read_study(study)), out)
