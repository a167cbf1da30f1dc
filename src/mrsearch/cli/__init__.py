"""The `mrsearch` command: one sub-command a rule. Heavy imports wait inside the functions, so that help is instant."""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated

import typer

from mrsearch.cli import (
    ask,
    bundle,
    config,
    data,
    evaluate,
    index,
    inspect,
    model,
    plan,
    preflight,
    protocol,
    records,
    rehearse,
    report,
    retriever,
    study,
    training,
    verl_config,
    wandb_sync,
)

app = typer.Typer(
    name="mrsearch",
    help="Meta-reinforcement learning with self-reflection for search agents, stage by stage.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("study")(study.resolve)
app.command("preflight")(preflight.check)
app.command("plan")(plan.plan)
app.command("rehearse")(rehearse.rehearse)
app.add_typer(data.app, name="data")
app.add_typer(index.app, name="index")
app.add_typer(retriever.app, name="retriever")
app.add_typer(model.app, name="model")
app.command("train")(training.train)
app.command("verl-config")(verl_config.verl_config)
app.command("evaluate")(evaluate.evaluate)
app.command("ask")(ask.ask)
app.command("inspect")(inspect.inspect)
app.add_typer(report.app, name="report")
app.add_typer(records.app, name="records")
app.command("bundle")(bundle.bundle)
app.command("verify")(bundle.verify)
app.add_typer(protocol.app, name="protocol")
app.command("wandb-sync")(wandb_sync.wandb_sync)
app.add_typer(config.app, name="config")

USER_ERROR = 2
CHATTY = ("faiss.loader", "httpx", "httpcore")
"""Libraries that log a line for every request, or for every processor they do not know."""


def _say_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        typer.echo(f"mrsearch {version('mrsearch')}")
        raise typer.Exit


@app.callback()
def _set_up(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for library in CHATTY:
        logging.getLogger(library).setLevel(logging.WARNING)


def main() -> None:
    """Run the command. What a user can mend is one red line and exit code 2; MRSEARCH_DEBUG=1 shows where it arose."""
    try:
        app()
    except ValueError as error:
        if os.environ.get("MRSEARCH_DEBUG"):
            raise
        typer.secho(f"mrsearch: {error}", fg="red", err=True)
        sys.exit(USER_ERROR)
