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
    """List every problem that can be seen before a run, and what was not checked.

    Disk, memory, GPUs and their driver, environments and what is imported in them, compilers, versions, W&B, ports,
    permissions, site. On a node with GPUs, with --scheduler local, it sees what a login node cannot.
    """
    import json

    from mrsearch.config import load_run, load_study
    from mrsearch.preflight.checks import preflight

    keys = {"study": name, "scheduler": scheduler, "site": site}
    loaded = load_run(json.loads(run) if run else keys)
    findings = preflight(loaded, load_study(loaded))
    for problem in findings.problems:
        typer.secho(f"- {problem}", fg="red")
    for unchecked in findings.unchecked:
        typer.secho(f"- not checked: {unchecked}", fg="yellow")
    if findings.problems:
        count = len(findings.problems)
        raise ValueError(f"{count} problem{'s' if count > 1 else ''} would stop study {loaded.study}")
    typer.echo(f"Study {loaded.study} can start{', as far as can be seen from here' if findings.unchecked else ''}.")
