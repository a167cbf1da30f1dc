"""`mrsearch index`: retrieval indexes."""

from __future__ import annotations

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
