"""The search engine of a study: the index in this process, or a client of its server."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from mrsearch.agent.ports import SearchEngine
from mrsearch.config.derived_retrievers import RemoteRetriever, RerankedRetriever
from mrsearch.config.study import Study
from mrsearch.retrieval.service.client import HttpEngine
from mrsearch.retrieval.service.remote import remote_endpoint


class OpenEngine(SearchEngine, Protocol):
    """A search engine that holds resources."""

    def close(self) -> None: ...

    async def aclose(self) -> None: ...


def search_retries(engine: SearchEngine | None) -> int:
    """Tries again of an engine's client so far; 0 for an index in this process and where nothing searches."""
    return engine.counts.retries if isinstance(engine, HttpEngine) else 0


def engine_of(
    study: Study, method: str, corpus: Path, indexes: Path, endpoint: Path | None = None
) -> OpenEngine | None:
    """The engine that a method's agents search with; None for procedures that do not search, which need no server.

    Arguments and errors as of `open_engine`.
    """
    return open_engine(study.of(method), corpus, indexes, endpoint) if study.methods[method].searches else None


def described_by(study: Study, corpus: Path, indexes: Path) -> dict[str, Path]:
    """The files that describe what the retriever in use searches, by name: they hold the hashes of passages and
    indexes, or are the weights of a reranker's folder. None for another corpus than the study's."""
    from mrsearch.retrieval.indexes import manifest
    from mrsearch.retrieval.indexes.passages import FILE as STORE_FILE

    if study.retrieval.retrievers[study.retrieval.use].kind == "remote":
        return {}
    manifests = {f"index/{name}": indexes / name / manifest.FILE for name in study.members(study.retrieval.use)}
    reached = {name: study.retrieval.retrievers[name] for name in study.reached(study.retrieval.use)}
    rerankers = {name: settings for name, settings in reached.items() if isinstance(settings, RerankedRetriever)}
    weights = {f"reranker/{name}": Path(item.path) for name, item in rerankers.items() if item.revision is None}
    return {"corpus": corpus / STORE_FILE, **manifests, **weights}


def open_engine(study: Study, corpus: Path, indexes: Path, endpoint: Path | None = None) -> OpenEngine:
    """The engine that the study's agents search with.

    corpus: the passage store; indexes: the folder that holds one index folder per retriever name; endpoint: the
    token (or live endpoint file) of a running server, needed when `retrieval.service.mode` is http; what `kind: remote`
    names needs none of them. ValueError if index, corpus and configuration do not fit together, or if the file of a
    remote server's token cannot be used.
    """
    retrieval = study.retrieval
    retriever = retrieval.retrievers[retrieval.use]
    if isinstance(retriever, RemoteRetriever):
        return HttpEngine(remote_endpoint(retriever), retrieval.client)
    if study.has_server(retrieval.use):
        if endpoint is None:
            raise ValueError("retrieval.service.mode is http, which needs the endpoint file of a running retriever")
        return HttpEngine(endpoint, retrieval.client)
    # A client's process has no use for what opens indexes.
    from mrsearch.retrieval.in_process import open_in_process

    return open_in_process(study, corpus, indexes)
