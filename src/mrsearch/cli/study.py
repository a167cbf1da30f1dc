"""`mrsearch study`: the resolved study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def resolve(
    name: Annotated[str, typer.Argument(help="A study's name, or the path of its YAML or JSON file.")] = "demo",
    run: Annotated[
        str | None, typer.Option(help="The run's keys as JSON, as in config/config.yaml; replaces NAME.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write it; without it, to standard output.")] = None,
) -> None:
    """Check a study, apply overrides and seeds, and write every value with its default resolved, as JSON."""
    import json

    from mrsearch.config import load_run, load_study, write_study
    from mrsearch.config.load import resolved_text

    study = load_study(load_run(json.loads(run) if run else {"study": name}))
    if out is None:
        typer.echo(resolved_text(study))
    else:
        write_study(study, out)
