"""`mrsearch preflight`: what would stop a run later."""

from __future__ import annotations

from typing import Annotated

import typer


def check(
    name: Annotated[str, typer.Argument(help="A study's name, or the path of its YAML or JSON file.")] = "demo",
    scheduler: Annotated[str, typer.Option(help="local or slurm.")] = "local",
    site: Annotated[str, typer.Option(help="The cluster's site file.")] = "config/site.yaml",
    run: Annotated[
        str | None, typer.Option(help="The run's keys as JSON, as in config/config.yaml; replaces the others.")
    ] = None,
) -> None:
    """List every problem that can be seen before a run: disk, memory, GPUs, versions, W&B, ports, permissions, site."""
    import json

    from mrsearch.config import load_run, load_study
    from mrsearch.preflight.checks import preflight

    keys = {"study": name, "scheduler": scheduler, "site": site}
    loaded = load_run(json.loads(run) if run else keys)
    problems = preflight(loaded, load_study(loaded))
    for problem in problems:
        typer.secho(f"- {problem}", fg="red")
    if problems:
        raise ValueError(f"{len(problems)} problem{'s' if len(problems) > 1 else ''} would stop study {loaded.study}")
    typer.echo(f"Study {loaded.study} can start.")
