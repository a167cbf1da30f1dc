"""`mrsearch bundle` and `mrsearch verify`: a study as one archive, and the check of one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DIFFERENT = 1
"""Exit code where a file differs."""


def bundle(
    study: Annotated[str, typer.Argument(help="Name of a study that has run.")],
    results: Annotated[str, typer.Option(help="`paths.results` of the run.")] = "results",
    resources: Annotated[str, typer.Option(help="`paths.resources` of the run.")] = "results/resources",
    out: Annotated[Path | None, typer.Option(help="Archive to write; STUDY-bundle.tar.gz in its results.")] = None,
) -> None:
    """Archive what makes a study's tables and figures again: configuration, locks, hashes, numbers, commands."""
    from mrsearch.config.run import Paths
    from mrsearch.reporting.bundle import write_bundle

    path = out or Path(results) / study / f"{study}-bundle.tar.gz"
    write_bundle(study, Paths(results=results, resources=resources), Path(), path)
    typer.echo(path)


def verify(bundle: Annotated[Path, typer.Argument(help="Archive of `mrsearch bundle`.")]) -> None:
    """Make an archive's tables and figures again and compare them byte for byte; exit code 1 if any differs."""
    from mrsearch.reporting.bundle import verify_bundle

    differences = verify_bundle(bundle)
    for line in differences:
        typer.echo(line)
    if differences:
        raise typer.Exit(DIFFERENT)
    typer.echo(f"{bundle}: tables and figures come out the same, byte for byte")
