"""The search engine of a study: the index in this process, or a client of its server."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from mrsearch.agent.ports import Hit, SearchEngine, SearchError
from mrsearch.config.study import Study
from mrsearch.retrieval.batching import Batcher
from mrsearch.retrieval.client import HttpEngine
from mrsearch.retrieval.indexes import open_searcher
from mrsearch.retrieval.passages import PassageStore
from mrsearch.retrieval.ranking import Ranking, Searcher


class OpenEngine(SearchEngine, Protocol):
    """A search engine that holds resources."""

    def close(self) -> None: ...

    async def aclose(self) -> None: ...


class InProcessEngine:
    """Searches an index opened in this process. Everything asked in one round of the event loop is one encoder batch
    and one scan; the results do not depend on what was asked together."""

    def __init__(self, store: PassageStore, searcher: Searcher, cache_entries: int) -> None:
        self._store = store
        self._batcher = Batcher(searcher, cache_entries)

    async def search(self, query: str, topk: int) -> list[Hit]:
        try:
            (ranking,) = await self._batcher.ask([query], topk)
        except Exception as error:
            raise SearchError(f"search for {query!r} failed: {error}") from error
        return hits(self._store, ranking)

    def close(self) -> None:
        """Nothing to wait for."""
        self._batcher.close()

    async def aclose(self) -> None:
        """As `close`."""
        self.close()


def hits(store: PassageStore, ranking: Ranking) -> list[Hit]:
    """The passages of a ranking with their scores."""
    return [Hit(store[position], score) for position, score in zip(*ranking, strict=True)]


def open_engine(study: Study, corpus: Path, indexes: Path, endpoint: Path | None = None) -> OpenEngine:
    """The engine that the study's agents search with.

    corpus: the passage store; indexes: the folder that holds one index folder per retriever name; endpoint: the
    token (or live endpoint file) of a running server, needed when `retrieval.service.mode` is http. ValueError if
    index, corpus and configuration do not fit together.
    """
    retrieval = study.retrieval
    if retrieval.service.mode == "http":
        if endpoint is None:
            raise ValueError("retrieval.service.mode is http, which needs the endpoint file of a running retriever")
        return HttpEngine(endpoint, retrieval.client)
    store = PassageStore(corpus)
    if retrieval.topk > len(store):
        raise ValueError(
            f"retrieval.topk ({retrieval.topk}) is larger than the corpus ({len(store)} passages): lower retrieval.topk"
        )
    searcher = open_searcher(study, retrieval.use, store, indexes)
    return InProcessEngine(store, searcher, retrieval.service.cache_entries)
