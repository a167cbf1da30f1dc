"""`mrsearch retriever`: the retrieval server's managed lifetime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mrsearch.cli import options, placement

app = typer.Typer(no_args_is_help=True, help="The retrieval server: serve, start, stop, status.")
Token = Annotated[Path, typer.Argument(help="The token's path.")]


@app.command()
def start(
    study: options.Study,
    corpus: options.Corpus,
    indexes: options.Indexes,
    token: Token,
    scheduler: placement.Where = placement.Scheduler.local,
    site: placement.Site = placement.SITE,
) -> None:
    """Start the server, or attach to it where it runs already; return once it answers a query."""
    from mrsearch.cluster.launchers import service_launcher
    from mrsearch.cluster.signals import Signalled
    from mrsearch.config import read_study
    from mrsearch.retrieval import service

    chosen = read_study(study)
    launcher = service_launcher(scheduler, site, "retriever", chosen.resources.retriever)
    try:
        service.start(chosen, corpus, indexes, token, launcher)
    except Signalled as signalled:
        raise typer.Exit(128 + signalled.signum) from None


@app.command()
def serve(study: options.Study, corpus: options.Corpus, indexes: options.Indexes) -> None:
    """Serve the study's retriever in this process until it is interrupted, without the DAG."""
    from mrsearch.config import read_study
    from mrsearch.retrieval.serve import let_threads_sleep, serve

    let_threads_sleep()
    serve(read_study(study), corpus, indexes)


@app.command()
def stop(token: Token) -> None:
    """Stop the server and remove its files; nothing happens where none runs."""
    from mrsearch.retrieval import service

    service.stop(token)


@app.command()
def gone(token: Token) -> None:
    """Remove the token of a server that does not answer any more."""
    from mrsearch.retrieval import service

    service.gone(token)


@app.command()
def status(token: Token) -> None:
    """Print the server's address and state as JSON."""
    import json

    from mrsearch.retrieval import service

    typer.echo(json.dumps(service.status(token), indent=2, sort_keys=True))
