"""The retriever of an agent that answers live: the pipeline's where it runs, else one of its own."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mrsearch.config.layout import Layout
from mrsearch.config.study import Study
from mrsearch.retrieval.service import lifetime
from mrsearch.retrieval.service.endpoint import healthy, read_endpoint
from mrsearch.retrieval.service.environment import server_python

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServerEnvironments:
    """Virtual environments of a retrieval server that has GPUs; as the run's paths of these names."""

    gpu_environment: Path = Path(".venv-gpu")
    retriever_environment: Path | None = None


@contextlib.contextmanager
def running_retriever(
    study: Study, layout: Layout, method: str, environments: ServerEnvironments
) -> Iterator[Path | None]:
    """The endpoint file of the server that the method's agents search with; None where no server is needed.

    A server of the pipeline is used and left alone. Where none answers, one is started for the block and ended with it;
    if this process is killed, its lease runs out. ValueError where its environment is missing, or, with the end of its
    log, where it does not start.
    """
    if not study.methods[method].searches or not study.has_server(study.retriever_of(method)):
        yield None
        return
    published = layout.endpoint(study.retrieval.use)
    if healthy(read_endpoint(published)):
        log.info("searching with the retriever that runs already: %s", published)
        yield published
        return
    python = server_python(study, environments.gpu_environment, environments.retriever_environment, "local", Path())
    with tempfile.TemporaryDirectory(prefix="mrsearch-", ignore_cleanup_errors=True) as folder:
        endpoint = Path(folder) / published.name
        log.info("starting the retriever %s", study.retrieval.use)
        try:
            lifetime.start(study, layout.corpus, layout.indexes, endpoint, holder=os.getpid(), python=python)
        except RuntimeError as error:
            raise ValueError(str(error)) from error
        try:
            yield endpoint
        finally:
            lifetime.stop(endpoint)
