"""`mrsearch index`: retrieval indexes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mrsearch.cli import options

app = typer.Typer(no_args_is_help=True, help="Retrieval indexes.")


@app.command()
def build(
    study: options.Study,
    retriever: Annotated[str, typer.Option(help="Name of a retriever of the study.")],
    corpus: options.Corpus,
    out: options.Out,
) -> None:
    """Encode the passages and build one retriever's index; an interrupted build goes on where it stopped."""
    from mrsearch.config import read_study
    from mrsearch.retrieval.indexes import build_index

    build_index(read_study(study), retriever, corpus, out)


@app.command("import")
def take_over(
    study: options.Study,
    retriever: Annotated[str, typer.Option(help="Name of a retriever of the study.")],
    corpus: options.Corpus,
    downloads: Annotated[Path, typer.Option(help="Folder of registered downloads.")],
    out: options.Out,
) -> None:
    """Make the study's published index the index of one retriever, instead of encoding the passages."""
    from mrsearch.config import read_study
    from mrsearch.data.registry import prebuilt_index
    from mrsearch.retrieval.prebuilt import import_index

    read = read_study(study)
    row = prebuilt_index(read, retriever)
    if row is None or row.files is None:
        raise ValueError(f"data.prebuilt_index does not fit retrieval.retrievers.{retriever}: build the index instead")
    import_index(read, retriever, corpus, [downloads / row.folder / file.path for file in row.files], out)
