"""One worker that takes what was asked since it last looked: micro-batches without any waiting time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

from mrsearch.retrieval.indexes.ranking import Ranking, Searcher
from mrsearch.retrieval.service.cache import Ask, RankingCache
from mrsearch.retrieval.service.fair_queue import FairQueue, Flight

MOST_SEARCHED = 256
"""Queries in one batch of a server: who asks for thousands lets others in between."""
CACHE_BYTES = 268_435_456


class Batcher:
    """Turns single asks into batches for a Searcher, with an LRU cache; an ask that is under way is never repeated.

    threaded: search in a thread of its own, so that the event loop goes on (a server); otherwise in the loop itself,
    once all callers of a round have asked (a small index inside a job). max_queue bounds the queries that wait; None
    does not. A caller that is cancelled takes its queries back, unless others wait for them. The state belongs to one
    running event loop at a time.
    """

    def __init__(
        self,
        searcher: Searcher,
        cache_entries: int,
        max_queue: int | None = None,
        threaded: bool = False,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._searcher = searcher
        self.cache = RankingCache(cache_entries, cache_bytes)
        self._max_queue = max_queue
        self._worker = ThreadPoolExecutor(1, "retrieval") if threaded else None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._queue = FairQueue(max_queue)
        self.cache_hits = 0
        self.cache_misses = 0
        self.on_batch: Callable[[int, float], None] = lambda size, seconds: None
        """Called after every batch with its size and duration."""

    def cached(self, queries: Sequence[str], topk: int) -> list[Ranking] | None:
        """The rankings of the queries if the cache has all of them."""
        rankings: list[Ranking] = []
        for query in queries:
            if (ranking := self.cache.get(Ask(query, topk))) is None:
                return None
            rankings.append(ranking)
        self.cache_hits += len(rankings)
        return rankings

    async def ask(self, queries: Sequence[str], topk: int, client: str = "", admitted: bool = False) -> list[Ranking]:
        """The rankings of the queries, in order. QueueFullError if too many wait; else what the searcher raises.

        client: whose turn it takes; admitted: however many wait.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._adopt(loop)
        queue, asks = self._queue, [Ask(query, topk) for query in queries]
        rankings = {ask: ranking for ask in asks if (ranking := self.cache.get(ask)) is not None}
        missing = [ask for ask in dict.fromkeys(asks) if ask not in rankings]
        new = sum(queue.get(ask) is None for ask in missing)
        if not admitted:
            queue.admit(client, new)
        self.cache_misses += new
        self.cache_hits += len(asks) - new
        flights = [queue.get(ask) or Flight(ask, loop.create_future()) for ask in missing]
        for flight in flights:
            queue.join(client, flight)
        if new and self._task is None:
            self._task = loop.create_task(self._work())
        try:
            for flight in flights:
                rankings[flight.ask] = await asyncio.shield(flight.answer)  # another may wait for it too
        finally:
            for flight in flights:
                queue.leave(client, flight)
        return [rankings[ask] for ask in asks]

    async def fresh(self, query: str, topk: int) -> Ranking:
        """The ranking of one query, searched for even if the cache knows it, and however many wait."""
        self.cache.drop(Ask(query, topk))
        (ranking,) = await self.ask([query], topk, client="health", admitted=True)
        return ranking

    @property
    def waiting(self) -> int:
        """Queries that no batch has taken yet."""
        return self._queue.waiting

    def close(self) -> None:
        """End the worker thread."""
        if self._worker:
            self._worker.shutdown(wait=True, cancel_futures=True)

    def _adopt(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue = FairQueue(self._max_queue)
        self._task = None

    async def _work(self) -> None:
        queue, most = self._queue, MOST_SEARCHED if self._worker else None
        while batch := queue.take(most):
            asks = [flight.ask for flight in batch]
            begun = time.perf_counter()
            outcomes: dict[Ask, Ranking] | Exception
            try:
                if self._worker:
                    outcomes = await asyncio.get_running_loop().run_in_executor(self._worker, self._search, asks)
                else:
                    outcomes = self._search(asks)
            except Exception as error:  # whatever it is, each caller gets it
                outcomes = error
            queue.landed(batch)
            for flight in batch:
                self._settle(flight, outcomes if isinstance(outcomes, Exception) else outcomes[flight.ask])
            self.on_batch(len(batch), time.perf_counter() - begun)
        self._task = None

    def _search(self, batch: list[Ask]) -> dict[Ask, Ranking]:
        rankings: dict[Ask, Ranking] = {}
        for topk, group in groupby(sorted(batch, key=lambda ask: ask.topk), key=lambda ask: ask.topk):
            asks = list(group)
            results = self._searcher.search([ask.query for ask in asks], topk)
            rankings.update(zip(asks, results, strict=True))
        return rankings

    def _settle(self, flight: Flight, outcome: Ranking | Exception) -> None:
        if isinstance(outcome, Ranking):
            self.cache.put(flight.ask, outcome)
            if not flight.answer.done():
                flight.answer.set_result(outcome)
        elif not flight.answer.done():
            flight.answer.set_exception(outcome)
            flight.answer.exception()  # nobody may wait any more: not worth a warning
