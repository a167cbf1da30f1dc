"""`mrsearch model`: untrained models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mrsearch.cli import options

app = typer.Typer(no_args_is_help=True, help="Untrained models.")


@app.command()
def base(
    study: options.Study,
    model: options.Model,
    out: options.Out,
    corpus: Annotated[Path, typer.Option(help="Passage store that a bpe tokenizer is fitted on.")] = Path(),
    mirror: options.Mirror = None,
) -> None:
    """Make a tiny model and its tokenizer, or download a published one, as a Hugging Face folder."""
    from mrsearch.config import read_study
    from mrsearch.policy.base_model import make_base
    from mrsearch.retrieval.indexes.passages import corpus_texts

    make_base(read_study(study), model, corpus_texts(corpus), out, mirror)
