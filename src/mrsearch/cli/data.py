"""`mrsearch data`: questions and passages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mrsearch.cli import options

Downloads = Annotated[Path, typer.Option(help="Folder of registered downloads, for studies of published data.")]

app = typer.Typer(no_args_is_help=True, help="Questions and passages.")


@app.command()
def questions(
    study: options.Study,
    dataset: Annotated[str, typer.Option(help='"train" or a benchmark of the study.')],
    out: options.Out,
    downloads: Downloads = Path(),
) -> None:
    """Write the questions of the training set or of a benchmark as parquet, in verl's row schema."""
    from mrsearch.config import read_study
    from mrsearch.data.questions import write_questions

    write_questions(read_study(study), dataset, out, downloads)


@app.command()
def corpus(study: options.Study, out: options.Out, downloads: Downloads = Path()) -> None:
    """Write the study's passages into a memory-mapped store."""
    from mrsearch.config import read_study
    from mrsearch.data.questions import read_passages
    from mrsearch.retrieval.indexes.passages import build_store

    build_store(read_passages(read_study(study), downloads), out)


@app.command()
def download(
    row: Annotated[str, typer.Option(help="Name of a row of the registry; of a study also the row's folder.")],
    out: options.Out,
    mirror: options.Mirror = None,
    study: Annotated[str | None, typer.Option(help="A study, whose own rows are known too.")] = None,
) -> None:
    """Download one row of the registry or of a study, verified; an interrupted download goes on where it stopped."""
    from mrsearch.config import read_study
    from mrsearch.data import registry
    from mrsearch.data.download import download as bring

    rows = registry.downloads_of(read_study(study)) if study is not None else []
    declared = next((entry for entry in rows if entry.declared and row in (entry.name, entry.folder)), None)
    bring(declared or registry.row(row), out, mirror=mirror)


@app.command()
def check(study: options.Study, downloads: Downloads) -> None:
    """Say which downloads of a study are not there yet; exit code 2 if there are any."""
    from mrsearch.config import read_study
    from mrsearch.data.download import missing as lacking
    from mrsearch.data.download import missing_message
    from mrsearch.data.registry import downloads_of

    if missing_files := lacking((row, downloads / row.folder) for row in downloads_of(read_study(study))):
        raise ValueError(missing_message(missing_files, downloads))


@app.command()
def overlap(
    study: options.Study,
    questions: Annotated[Path, typer.Option(help="Folder of the prepared questions.")],
    out: options.Out,
) -> None:
    """Report which questions the training set shares with each benchmark, as JSON."""
    from mrsearch.config import read_study
    from mrsearch.data.overlap import write_overlap

    write_overlap(read_study(study), questions, out)
