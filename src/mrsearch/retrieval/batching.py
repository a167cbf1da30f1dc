"""One worker that takes everything asked since it last looked: micro-batches without any waiting time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import NamedTuple

from cachetools import LRUCache

from mrsearch.retrieval.ranking import Ranking, Searcher


class Ask(NamedTuple):
    """One question to the index."""

    query: str
    topk: int


class QueueFullError(RuntimeError):
    """So many queries wait that another should come back later."""


class Batcher:
    """Turns single asks into batches for a Searcher, with an LRU cache; an ask that is under way is never repeated.

    threaded: search in a thread of its own, so that the event loop goes on (a server); otherwise in the loop itself,
    once all callers of a round have asked (a small index inside a job). max_queue bounds the queries that wait; None
    does not. The state belongs to one running event loop at a time.
    """

    def __init__(
        self, searcher: Searcher, cache_entries: int, max_queue: int | None = None, threaded: bool = False
    ) -> None:
        self._searcher = searcher
        self._cache: LRUCache[Ask, Ranking] = LRUCache(cache_entries)
        self._max_queue = max_queue
        self._worker = ThreadPoolExecutor(1, "retrieval") if threaded else None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._adopt(None)
        self.cache_hits = 0
        self.cache_misses = 0
        self.on_batch: Callable[[int, float], None] = lambda size, seconds: None
        """Called after every batch with its size and duration."""

    async def ask(self, queries: Sequence[str], topk: int) -> list[Ranking]:
        """The rankings of the queries, in order. QueueFullError if too many wait; else what the searcher raises."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._adopt(loop)
        if self._max_queue is not None and len(self._pending) >= self._max_queue:
            raise QueueFullError(f"{len(self._pending)} queries wait already")
        answers = [self._one(Ask(query, topk), loop) for query in queries]
        return [
            answer if isinstance(answer, Ranking) else await asyncio.shield(answer)  # another may wait for it too
            for answer in answers
        ]

    async def fresh(self, query: str, topk: int) -> Ranking:
        """The ranking of one query, searched for even if the cache knows it."""
        self._cache.pop(Ask(query, topk), None)
        (ranking,) = await self.ask([query], topk)
        return ranking

    @property
    def waiting(self) -> int:
        """Queries that no batch has taken yet."""
        return len(self._pending)

    def close(self) -> None:
        """End the worker thread."""
        if self._worker:
            self._worker.shutdown(wait=True, cancel_futures=True)

    def _adopt(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._loop = loop
        self._pending: list[Ask] = []
        self._flights: dict[Ask, asyncio.Future[Ranking]] = {}
        self._task: asyncio.Task[None] | None = None

    def _one(self, ask: Ask, loop: asyncio.AbstractEventLoop) -> Ranking | asyncio.Future[Ranking]:
        if (known := self._cache.get(ask)) is not None:
            self.cache_hits += 1
            return known
        if (flight := self._flights.get(ask)) is not None:
            self.cache_hits += 1
            return flight
        self.cache_misses += 1
        flight = self._flights[ask] = loop.create_future()
        self._pending.append(ask)
        if self._task is None:
            self._task = loop.create_task(self._work())
        return flight

    async def _work(self) -> None:
        while self._pending:
            batch, self._pending = self._pending, []
            begun = time.perf_counter()
            try:
                if self._worker:
                    rankings = await asyncio.get_running_loop().run_in_executor(self._worker, self._search, batch)
                else:
                    rankings = self._search(batch)
            except Exception as error:  # whatever it is, each caller gets it
                for ask in batch:
                    self._settle(ask, error)
            else:
                for ask in batch:
                    self._settle(ask, rankings[ask])
            self.on_batch(len(batch), time.perf_counter() - begun)
        self._task = None

    def _search(self, batch: list[Ask]) -> dict[Ask, Ranking]:
        rankings: dict[Ask, Ranking] = {}
        for topk, group in groupby(sorted(batch, key=lambda ask: ask.topk), key=lambda ask: ask.topk):
            asks = list(group)
            found = self._searcher.search([ask.query for ask in asks], topk)
            rankings.update(zip(asks, found, strict=True))
        return rankings

    def _settle(self, ask: Ask, outcome: Ranking | Exception) -> None:
        flight = self._flights.pop(ask)
        if isinstance(outcome, Ranking):
            if self._cache.maxsize:
                self._cache[ask] = outcome
            if not flight.done():
                flight.set_result(outcome)
        elif not flight.done():
            flight.set_exception(outcome)
            flight.exception()  # nobody may wait any more: not worth a warning
