"""`mrsearch config`: files generated from the typed configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Files generated from the typed configuration.")


@app.command()
def generate(
    root: Annotated[Path, typer.Option(help="The project's root.")] = Path(),
    check: Annotated[bool, typer.Option(help="Write nothing; fail if a file is out of date.")] = False,
) -> None:
    """Write config.yaml, the schemas, the key tables of config/README.md and the commands' reference."""
    from mrsearch.cli.reference import REFERENCE, cli_reference
    from mrsearch.config.generate import generated_files

    for path, text in (generated_files(root) | {root / REFERENCE: cli_reference()}).items():
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        if check:
            raise ValueError(f"{path} is out of date: run `make config` and commit the result")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        typer.echo(f"wrote {path}")
