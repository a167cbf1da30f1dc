"""`mrsearch retriever`: the retrieval server's managed lifetime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mrsearch.cli import options
from mrsearch.cli import scheduler as placement

app = typer.Typer(no_args_is_help=True, help="The retrieval server: serve, start, stop, status.")
Retriever = Annotated[
    str | None, typer.Option(help="Which retriever of the study; without it, the one that retrieval.use names.")
]
EndpointFile = Annotated[Path, typer.Argument(help="The endpoint file's path.")]


@app.command()
def start(
    study: options.Study,
    corpus: options.Corpus,
    indexes: options.Indexes,
    endpoint_file: EndpointFile,
    retriever: Retriever = None,
    scheduler: placement.Where = placement.Scheduler.local,
    site: placement.Site = placement.SITE,
    gpu_environment: placement.GpuEnvironment = placement.GPU_ENVIRONMENT,
    retriever_environment: placement.RetrieverEnvironment = None,
) -> None:
    """Start the server, or attach to it where it runs already; return once it answers a query."""
    from mrsearch.cluster.launchers import service_launcher
    from mrsearch.cluster.signals import Signalled
    from mrsearch.config import read_study
    from mrsearch.retrieval.service import lifetime as service
    from mrsearch.retrieval.service.environment import server_python

    loaded = read_study(study)
    loaded = loaded if retriever is None else loaded.searching(retriever)
    python = server_python(loaded, gpu_environment, retriever_environment, scheduler, site)
    launcher = service_launcher(scheduler, site, "retriever", loaded.resources.retriever)
    try:
        service.start(loaded, corpus, indexes, endpoint_file, launcher, show=typer.echo, python=python)
    except Signalled as signalled:
        raise typer.Exit(128 + signalled.signum) from None


@app.command()
def serve(
    study: options.Study,
    corpus: options.Corpus,
    indexes: options.Indexes,
    retriever: Retriever = None,
    without_token: Annotated[
        bool, typer.Option("--without-token", help="Answer every user of this machine; on loopback only.")
    ] = False,
) -> None:
    """Serve the study's retriever in this process until it is interrupted, without the DAG.

    Requests must carry the token that MRSEARCH_BEARER sets.
    """
    from mrsearch.config import read_study
    from mrsearch.retrieval.service.process import let_threads_sleep, serve

    let_threads_sleep()
    loaded = read_study(study)
    loaded = loaded if retriever is None else loaded.searching(retriever)
    serve(loaded, corpus, indexes, without_token=without_token)


@app.command()
def stop(endpoint_file: EndpointFile) -> None:
    """Stop the server and remove its files; nothing happens where none runs."""
    from mrsearch.retrieval.service import lifetime as service

    service.stop(endpoint_file)


@app.command()
def forget(endpoint_file: EndpointFile) -> None:
    """Remove the endpoint file of a server that does not answer any more."""
    from mrsearch.retrieval.service import lifetime as service

    service.forget(endpoint_file)


@app.command()
def status(endpoint_file: EndpointFile) -> None:
    """Print the server's address and state as JSON."""
    import json

    from mrsearch.retrieval.service import lifetime as service

    typer.echo(json.dumps(service.status(endpoint_file), indent=2, sort_keys=True))
