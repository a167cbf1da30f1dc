"""A search engine over an index that this process opens itself."""

from __future__ import annotations

from pathlib import Path

from mrsearch.agent.ports import Hit, SearchError
from mrsearch.config.study import Study
from mrsearch.retrieval.indexes.index import open_searcher
from mrsearch.retrieval.indexes.passages import PassageStore
from mrsearch.retrieval.indexes.ranking import Ranking, Searcher
from mrsearch.retrieval.service.batching import Batcher


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


def open_in_process(study: Study, corpus: Path, indexes: Path) -> InProcessEngine:
    """The engine over the study's index; arguments and errors as of `engine.open_engine`."""
    retrieval = study.retrieval
    store = PassageStore(corpus)
    if retrieval.topk > len(store):
        raise ValueError(
            f"retrieval.topk ({retrieval.topk}) is larger than the corpus ({len(store)} passages): lower retrieval.topk"
        )
    searcher = open_searcher(study, retrieval.use, store, indexes)
    return InProcessEngine(store, searcher, retrieval.service.cache_entries)
