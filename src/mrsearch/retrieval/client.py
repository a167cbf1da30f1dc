"""A client of the retrieval server, and of any server that speaks Search-R1's `/retrieve`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from tenacity import AsyncRetrying, RetryCallState, Retrying, retry_if_exception_type, stop_after_delay
from tenacity import wait_random_exponential as jitter

from mrsearch.agent.ports import Hit, SearchError
from mrsearch.config.retrieval import Client as ClientConfig
from mrsearch.retrieval.endpoint import Endpoint, read_endpoint
from mrsearch.retrieval.wire import RefusedError, TransientError, payload, read_answer

LONGEST_PAUSE = 5.0
"""Seconds between two tries, at most."""
MOST_TOGETHER = 64
"""Queries of one event-loop round that travel in one request."""


@dataclass(slots=True)
class Counts:
    """What a client did; the caller compares `failed` with its own limit."""

    searches: int = 0
    retries: int = 0
    failed: int = 0


class HttpEngine:
    """Searches over HTTP, from coroutines (`search`) and from threads (`search_many`).

    Searches of one event-loop round travel together. The endpoint file is read again before every try, so a restarted
    or moved server is found. Tries go on, with jitter, until `patience_seconds` are spent; then, or when no other try
    can mend the answer, SearchError.
    """

    def __init__(self, endpoint: Path | str, config: ClientConfig) -> None:
        """endpoint: token, live endpoint file, or the URL of a server."""
        self._where = endpoint
        self._config = config
        self._limits = httpx.Limits(max_connections=256, max_keepalive_connections=64)
        self._sync = httpx.Client(timeout=config.timeout_seconds, limits=self._limits)
        self._lock = threading.Lock()
        self.counts = Counts()
        self._adopt(None)

    async def search(self, query: str, topk: int) -> list[Hit]:
        """The hits of one query."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._adopt(loop)
        self._count(searches=1)
        if not self._waiting:
            loop.call_soon(self._send)
        future = loop.create_future()
        self._waiting.setdefault(topk, {}).setdefault(query, []).append(future)
        try:
            found: list[Hit] = await future
        except SearchError:
            self._count(failed=1)
            raise
        return found

    def search_many(self, queries: Sequence[str], topk: int) -> list[list[Hit]]:
        """The hits of several queries in one request, blocking."""

        def attempt() -> list[list[Hit]]:
            with _transport(endpoint := self._endpoint()):
                answer = self._sync.post(
                    f"{endpoint.url}/retrieve", json=payload(queries, topk), headers=endpoint.headers
                )
            return read_answer(answer, len(queries))

        self._count(searches=len(queries))
        try:
            found: list[list[Hit]] = Retrying(**self._policy())(attempt)
        except (TransientError, SearchError) as error:
            self._count(failed=len(queries))
            raise self._final(queries, error) from error
        return found

    def close(self) -> None:
        """Close the connections of `search_many`; those of `search` end with their event loop."""
        self._sync.close()

    async def aclose(self) -> None:
        """Close all connections."""
        if self._async is not None and self._loop is asyncio.get_running_loop():
            await self._async.aclose()
        self._adopt(None)
        self.close()

    def _adopt(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Connections and futures belong to one event loop."""
        self._loop = loop
        self._waiting: dict[int, dict[str, list[asyncio.Future[list[Hit]]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._async = httpx.AsyncClient(timeout=self._config.timeout_seconds, limits=self._limits) if loop else None

    def _send(self) -> None:
        """One request per topk and `MOST_TOGETHER` queries for everything asked in this round."""
        waiting, self._waiting = self._waiting, {}
        for topk, futures in waiting.items():
            queries = list(futures)
            for start in range(0, len(queries), MOST_TOGETHER):
                part = {query: futures[query] for query in queries[start : start + MOST_TOGETHER]}
                task = asyncio.get_running_loop().create_task(self._settle(part, topk))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _settle(self, futures: dict[str, list[asyncio.Future[list[Hit]]]], topk: int) -> None:
        try:
            found = await self._ask(list(futures), topk)
        except RefusedError as error:
            if len(futures) == 1:
                _fail(futures, error)
            else:  # one of them is to blame: the others shall have their answers
                await asyncio.gather(*(self._settle({query: asked}, topk) for query, asked in futures.items()))
        except SearchError as error:
            _fail(futures, error)
        else:
            for hits, asked in zip(found, futures.values(), strict=True):
                for future in asked:
                    if not future.done():
                        future.set_result(list(hits))

    async def _ask(self, queries: list[str], topk: int) -> list[list[Hit]]:
        client = self._async
        assert client is not None

        async def attempt() -> list[list[Hit]]:
            with _transport(endpoint := self._endpoint()):
                answer = await client.post(
                    f"{endpoint.url}/retrieve", json=payload(queries, topk), headers=endpoint.headers
                )
            return read_answer(answer, len(queries))

        try:
            found: list[list[Hit]] = await AsyncRetrying(**self._policy())(attempt)
        except TransientError as error:
            raise self._final(queries, error) from error
        return found

    def _endpoint(self) -> Endpoint:
        if isinstance(self._where, str):
            return Endpoint(self._where.rstrip("/"), "")
        endpoint = read_endpoint(self._where)
        if endpoint is None:
            raise TransientError(f"{self._where}: no live retriever announces itself")
        return endpoint

    def _policy(self) -> dict[str, Any]:
        return {
            "retry": retry_if_exception_type(TransientError),
            "stop": stop_after_delay(self._config.patience_seconds),
            "wait": _pause,
            "before_sleep": lambda _: self._count(retries=1),
            "reraise": True,
        }

    def _final(self, queries: Sequence[str], error: Exception) -> SearchError:
        if isinstance(error, SearchError):
            return error
        return SearchError(f"no answer for {queries[0]!r} within {self._config.patience_seconds:g} s: {error}")

    def _count(self, searches: int = 0, retries: int = 0, failed: int = 0) -> None:
        with self._lock:
            self.counts.searches += searches
            self.counts.retries += retries
            self.counts.failed += failed


@contextmanager
def _transport(endpoint: Endpoint) -> Iterator[None]:
    """Turns every failure to exchange a request and its answer into a TransientError."""
    try:
        yield
    except httpx.HTTPError as error:
        raise TransientError(f"{endpoint.url}: {error!r}") from error


def _fail(futures: dict[str, list[asyncio.Future[list[Hit]]]], error: SearchError) -> None:
    for asked in futures.values():
        for future in asked:
            if not future.done():
                future.set_exception(error)


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, TransientError) else 0.0
    return min(LONGEST_PAUSE, asked + jitter(multiplier=0.1, max=LONGEST_PAUSE)(state))
