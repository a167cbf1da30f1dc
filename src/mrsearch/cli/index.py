"""`mrsearch index`: retrieval indexes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mrsearch.cli import options
from mrsearch.cli import scheduler as placement

app = typer.Typer(no_args_is_help=True, help="Retrieval indexes.")
Downloads = Annotated[Path, typer.Option(help="Folder of registered downloads.")]


@app.command()
def build(
    study: options.Study,
    retriever: Annotated[str, typer.Option(help="Name of a retriever of the study.")],
    corpus: options.Corpus,
    out: options.Out,
    downloads: Downloads | None = None,
    gpu_environment: placement.JobGpuEnvironment = None,
    site: placement.JobSite = None,
) -> None:
    """Encode the passages and build one retriever's index; an interrupted build goes on where it stopped."""
    from mrsearch.config import read_study
    from mrsearch.data.registry import encoder
    from mrsearch.retrieval.indexes.index import build_index

    read = read_study(study)
    if gpu_environment is not None and read.resources.index.gpus:
        files = {"study": study, "retriever": retriever, "corpus": corpus, "out": out, "downloads": downloads}
        placement.run_on_gpus(["index", "build"], files, gpu_environment, site)
    row = encoder(read, retriever) if downloads else None
    build_index(read, retriever, corpus, out, downloads / row.folder if downloads and row else None)


@app.command("import")
def take_over(
    study: options.Study,
    retriever: Annotated[str, typer.Option(help="Name of a retriever of the study.")],
    corpus: options.Corpus,
    downloads: Downloads,
    out: options.Out,
) -> None:
    """Make the study's published index the index of one retriever, instead of encoding the passages."""
    from mrsearch.config import read_study
    from mrsearch.data.registry import encoder, prebuilt_index
    from mrsearch.retrieval.indexes.prebuilt import import_index

    read = read_study(study)
    row = prebuilt_index(read, retriever)
    if row is None or row.files is None:
        raise ValueError(f"data.prebuilt_index does not fit retrieval.retrievers.{retriever}: build the index instead")
    shards = [downloads / row.folder / file.path for file in row.files]
    encoded_by = encoder(read, retriever)
    import_index(read, retriever, corpus, shards, out, downloads / encoded_by.folder if encoded_by else None)


@app.command()
def verify(index: Annotated[Path, typer.Argument(help="Folder of one built index.")]) -> None:
    """Read a whole index and compare it with the hashes that its build wrote down; opening it looks at samples."""
    from mrsearch.retrieval.indexes.manifest import verify as verify_index

    typer.echo(f"{index}: {verify_index(index):,} bytes are what was written")


@app.command()
def compare(
    study: options.Study,
    corpus: options.Corpus,
    indexes: options.Indexes,
    questions: Annotated[
        list[Path], typer.Option(help="Questions with gold answers, parquet or jsonl; repeat it for more benchmarks.")
    ],
    out: Annotated[list[Path], typer.Option(help="Table to write, .csv or .md; repeat it for both.")],
) -> None:
    """Compare the study's retrievers: how often an answer is found, recall against exact search, time per query."""
    from mrsearch.agent.questions import read_questions
    from mrsearch.config import read_study
    from mrsearch.retrieval.indexes import quality

    by_benchmark = {path.stem: read_questions(path) for path in questions}
    if len(by_benchmark) < len(questions):
        raise ValueError("--questions: two files have the same name, which names the benchmark in the report")
    rows = quality.report(read_study(study), corpus, indexes, by_benchmark)
    for path in out:
        quality.write_report(rows, path)


@app.command()
def estimate(
    study: options.Study,
    passages: Annotated[int, typer.Option(min=1, help="Passages of the corpus.")],
    dim: Annotated[
        int | None, typer.Option(min=1, help="Numbers per vector, where the encoder is not on this machine.")
    ] = None,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of the server.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder where indexes will lie.")] = Path("results"),
) -> None:
    """Say what each of the study's indexes will need; exit code 1 if this machine lacks some of it."""
    from mrsearch.config import read_study
    from mrsearch.retrieval.indexes import footprint

    read, lacking = read_study(study), []
    for name in read.retrieval.retrievers:
        estimate = footprint.needs(read, name, passages, dim, gpus)
        typer.echo(f"{name}: {footprint.describe(estimate)}")
        lacking += [f"{name}: {problem}" for problem in footprint.problems(estimate, out, gpus)]
    for problem in lacking:
        typer.echo(problem, err=True)
    raise typer.Exit(bool(lacking))
