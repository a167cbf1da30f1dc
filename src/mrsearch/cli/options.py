"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Study = Annotated[str, typer.Option(help="A study's name, or the path of its YAML or JSON file.")]
Out = Annotated[Path, typer.Option(help="What to write.")]
Corpus = Annotated[Path, typer.Option(help="Folder of the passage store.")]
Indexes = Annotated[Path, typer.Option(help="Folder that holds one index folder per retriever.")]
Endpoint = Annotated[
    Path | None, typer.Option(help="Endpoint file of the running retriever; without it the index is opened here.")
]
Model = Annotated[str, typer.Option(help="Name of a model of the study.")]
Method = Annotated[str, typer.Option(help="Name of a method of the study.")]
Seed = Annotated[int, typer.Option(min=0, help="Training seed.")]
Mirror = Annotated[
    str | None,
    typer.Option(
        envvar="MRSEARCH_MIRROR",
        help="Folder or address to download from instead of the public hub; an address with a password is better "
        "given in the variable, since every user of a machine can read command lines.",
    ),
]
Metrics = Annotated[Path, typer.Option(help="metrics.parquet of the study.")]
WholePassages = Annotated[
    bool, typer.Option("--whole-passages", help="Show passages whole instead of their beginning.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One line of JSON a meta-episode, for scripts.")]
