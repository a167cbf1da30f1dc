"""`mrsearch report`: metrics, tables, figures and the viewer."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from mrsearch.cli import options

app = typer.Typer(no_args_is_help=True, help="Metrics, tables, figures and the viewer.")


@app.command()
def metrics(
    study: options.Study,
    records: Annotated[Path, typer.Option(help="Folder of the study's evaluations.")],
    scores: Annotated[Path, typer.Option(help="Scores of all questions to write, as parquet.")],
    out: options.Out,
) -> None:
    """Aggregate the scores that evaluations wrote."""
    from mrsearch.config import read_study
    from mrsearch.evaluation.metrics import write_metrics

    write_metrics(read_study(study), records, scores, out)


@app.command()
def tables(study: options.Study, metrics: options.Metrics, out: options.Out) -> None:
    """Write the tables as CSV, Markdown, HTML and LaTeX."""
    from mrsearch.config import read_study
    from mrsearch.reporting.tables.writer import write_tables

    write_tables(read_study(study), metrics, out)


@app.command()
def figures(
    study: options.Study,
    metrics: options.Metrics,
    models: Annotated[Path, typer.Option(help="Folder of the study's trained models, for their training logs.")],
    out: options.Out,
) -> None:
    """Draw the figures as PDF, SVG and PNG."""
    from mrsearch.config import read_study
    from mrsearch.reporting.figures.writer import write_figures

    write_figures(read_study(study), metrics, models, out)


@app.command()
def retrieval(
    study: options.Study,
    quality: Annotated[Path, typer.Option(help="CSV of `mrsearch index compare`.")],
    out: options.Out,
) -> None:
    """Draw what retrievers find against the time of a query, as PDF, SVG and PNG."""
    from mrsearch.config import read_study
    from mrsearch.reporting.figures.retrieval import retrieval_quality

    retrieval_quality(read_study(study), quality, out)


@app.command()
def compute(
    study: options.Study,
    results: Annotated[Path, typer.Option(help="The study's folder of results.")],
    out: options.Out,
) -> None:
    """Write the table of time and hardware as CSV, Markdown, HTML and LaTeX."""
    from mrsearch.config import read_study
    from mrsearch.reporting.tables.compute import write_compute

    write_compute(read_study(study), results, out)


@app.command()
def viewer(
    study: Annotated[list[str], typer.Option(help="A study's name or file; repeat it to show several studies.")],
    records: Annotated[list[Path], typer.Option(help="Folder of the study's evaluations; as often as --study.")],
    out: options.Out,
    models: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of the study's trained models, for groups of trainings; as often as --study."),
    ] = None,
) -> None:
    """Write the page that browses the meta-episodes of a study, or of several."""
    from mrsearch.config import read_study
    from mrsearch.reporting.viewer import StudyRecords, write_viewer

    folders: list[Path] | list[None] = models or [None] * len(study)
    if not len(study) == len(records) == len(folders):
        counts = f"{len(study)} --study, {len(records)} --records and {len(folders)} --models"
        raise ValueError(f"{counts}: name the folders of each study, in the same order")
    sources = zip(map(read_study, study), records, folders, strict=True)
    write_viewer([StudyRecords(*source) for source in sources], out)


@app.command()
def compare(
    study: Annotated[
        list[str],
        typer.Argument(help="Studies by name, folders of their results, or bundles; the first is compared with."),
    ],
    out: options.Out,
    results: Annotated[Path, typer.Option(help="Folder of all results, where a study is named.")] = Path("results"),
    method: Annotated[list[str] | None, typer.Option(help="Only this method; repeat it for more.")] = None,
    despite: Annotated[
        list[str] | None,
        typer.Option(help="protocol or index: compare although that differs, and say so below the table; or both."),
    ] = None,
) -> None:
    """Set methods of several studies, or of two runs of one, into one table and figure."""
    from mrsearch.reporting.compare.writer import write_comparison

    write_comparison(study, results, out, method or (), despite or ())


@app.command()
def show(study: options.Study, metrics: options.Metrics) -> None:
    """Print the main table."""
    from mrsearch.config import read_study
    from mrsearch.reporting.tables.writer import main_table_text

    typer.echo(main_table_text(read_study(study), metrics, shutil.get_terminal_size().columns))
