"""`mrsearch plan`: what a study will cost, before any GPU is at hand."""

from __future__ import annotations

from typing import Annotated

import typer


def plan(
    name: Annotated[str, typer.Argument(help="A study's name, or the path of its YAML or JSON file.")] = "paper",
    card: Annotated[str, typer.Option(help="GPU: h100, h200, a100, a100-40, l40s or rtx4090.")] = "h100",
    assume: Annotated[list[str] | None, typer.Option(help="An assumption to replace, as name=number.")] = None,
    run: Annotated[
        str | None, typer.Option(help="The run's keys as JSON, as in config/config.yaml; replaces NAME.")
    ] = None,
) -> None:
    """Jobs, GPUs, hours, GPU hours, disk and memory by stage and model, from arithmetic alone.

    Nothing is measured: the assumptions stand below the table.
    """
    import json

    from mrsearch.config import load_run, load_study
    from mrsearch.planning.plan import Plan, summary
    from mrsearch.planning.show import plan_text
    from mrsearch.planning.speed import Assumptions, card_named

    study = load_study(load_run(json.loads(run) if run else {"study": name}))
    priced = Plan(study, card_named(card), Assumptions.of(assume or []))
    rows = list(priced.rows())
    typer.echo(plan_text(priced, rows, summary(study, rows)))
