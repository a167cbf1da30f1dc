"""A client of the retrieval server, and of any server that speaks Search-R1's `/retrieve`."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from mrsearch.agent.ports import Hit, SearchError
from mrsearch.config.retrieval import Client as ClientConfig
from mrsearch.exchange import OversizeError, abandon, exchange, open_session
from mrsearch.retries import TransientError, until_answered
from mrsearch.retrieval.service.endpoint import Endpoint, read_endpoint
from mrsearch.retrieval.service.wire import RefusedError, payload, read_answer

CLIENT_HEADER = "X-Mrsearch-Client"
"""Header that tells a server which connections are one client's."""
LONGEST_PAUSE = 5.0
"""Seconds between two tries, at most."""
MOST_TOGETHER = 64
"""Queries of one event-loop round that travel in one request."""
CONNECTIONS = 256
SHOWN = 200
"""Characters of a query that an error repeats."""
FRAME_BYTES = 65_536
"""What an answer may have beside its passages."""

Futures = dict[str, list[asyncio.Future[list[Hit]]]]


@dataclass(slots=True)
class ClientCounts:
    """What a client did; the caller compares `failed` with its own limit."""

    searches: int = 0
    retries: int = 0
    failed: int = 0


class HttpEngine:
    """Searches over HTTP, from coroutines (`search`) and from threads (`search_many`).

    Searches of one event-loop round travel together. The endpoint file is read again before every try, so a restarted
    or moved server is found. Tries go on, with jitter, until `patience_seconds` are spent, and no longer, whatever the
    server answers or does not; then, or when no other try can mend the answer, SearchError.
    """

    def __init__(self, endpoint: Path | str | Endpoint, config: ClientConfig) -> None:
        """endpoint: token, live endpoint file, or the URL of a server, alone or with its bearer token."""
        self._where = endpoint
        self._config = config
        self._identity = {CLIENT_HEADER: secrets.token_hex(8), "Content-Type": "application/json"}
        self._lock = threading.Lock()
        self.counts = ClientCounts()
        self._session: aiohttp.ClientSession | None = None
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
            hits: list[Hit] = await future
        except SearchError:
            self._count(failed=1)
            raise
        return hits

    def search_many(self, queries: Sequence[str], topk: int) -> list[list[Hit]]:
        """The hits of several queries in one request, blocking; not for threads in which an event loop runs."""

        async def ask() -> list[list[Hit]]:
            async with open_session(1) as session:
                return await self._ask(session, queries, topk, time.monotonic() + self._config.patience_seconds)

        self._count(searches=len(queries))
        try:
            return asyncio.run(ask())
        except SearchError:
            self._count(failed=len(queries))
            raise

    def close(self) -> None:
        """Drop the connections of an event loop that is over; those of a running one are closed by `aclose`."""
        if self._loop is not None and self._loop.is_closed():
            self._adopt(None)

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None and self._loop is asyncio.get_running_loop():
            await self._session.close()
        self._adopt(None)

    def _adopt(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Connections and futures belong to one event loop."""
        if self._session is not None:
            abandon(self._session)
        self._loop = loop
        self._waiting: dict[int, Futures] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._session = open_session(CONNECTIONS) if loop else None

    def _send(self) -> None:
        """One request per topk and `MOST_TOGETHER` queries for everything asked in this round."""
        waiting, self._waiting = self._waiting, {}
        deadline = time.monotonic() + self._config.patience_seconds
        for topk, futures in waiting.items():
            queries = list(futures)
            for start in range(0, len(queries), MOST_TOGETHER):
                share = {query: futures[query] for query in queries[start : start + MOST_TOGETHER]}
                task = asyncio.get_running_loop().create_task(self._settle(share, topk, deadline))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _settle(self, futures: Futures, topk: int, deadline: float) -> None:
        """Every future gets its hits or a SearchError, whatever happens."""
        assert self._session is not None
        try:
            lists = await self._ask(self._session, list(futures), topk, deadline)
        except RefusedError as error:
            if len(futures) == 1:
                _fail(futures, error)
            else:  # one of them is to blame: the others shall have their answers
                await asyncio.gather(*(self._settle({q: waiting}, topk, deadline) for q, waiting in futures.items()))
        except SearchError as error:
            _fail(futures, error)
        except Exception as error:
            _fail(futures, SearchError(f"the search failed: {error!r}"))
        except asyncio.CancelledError:
            _fail(futures, SearchError("the search was cut short"))
            raise
        else:
            for hits, waiting in zip(lists, futures.values(), strict=True):
                for future in waiting:
                    if not future.done():
                        future.set_result(list(hits))

    async def _ask(
        self, session: aiohttp.ClientSession, queries: Sequence[str], topk: int, deadline: float
    ) -> list[list[Hit]]:
        """The hits of each query by `deadline` on the monotonic clock; SearchError for every way to fail."""
        last = "no answer came"
        max_bytes = FRAME_BYTES + len(queries) * topk * self._config.max_passage_bytes
        about = repr(queries[0])[:SHOWN] if queries else "no query"

        async def attempt() -> list[list[Hit]]:
            nonlocal last
            try:
                endpoint = self._endpoint()
                url, headers = f"{endpoint.url}/retrieve", endpoint.headers | self._identity
                seconds = min(self._config.timeout_seconds, deadline - time.monotonic())
                reply = await exchange(session, "POST", url, headers, seconds, max_bytes, payload(queries, topk))
                return read_answer(reply, url, len(queries), topk)
            except TransientError as error:
                last = str(error)
                raise

        try:
            async with asyncio.timeout(max(deadline - time.monotonic(), 0.0)):
                return await until_answered(attempt, deadline, LONGEST_PAUSE, lambda: self._count(retries=1))
        except (TransientError, TimeoutError) as error:
            patience = self._config.patience_seconds
            raise SearchError(f"no answer for {about} within {patience:g} s: {last}") from error
        except OversizeError as error:
            raise SearchError(
                f"{error}: retrieval.client.max_passage_bytes ({self._config.max_passage_bytes}) bounds it"
            ) from error
        except (ValueError, TypeError, AttributeError) as error:  # what cannot be sent
            raise SearchError(f"the search for {about} failed: {error!r}") from error

    def _endpoint(self) -> Endpoint:
        if isinstance(self._where, Endpoint):
            return self._where
        if isinstance(self._where, str):
            return Endpoint(self._where.rstrip("/"), "")
        endpoint = read_endpoint(self._where)
        if endpoint is None:
            raise TransientError(f"{self._where}: no live retriever announces itself")
        return endpoint

    def _count(self, searches: int = 0, retries: int = 0, failed: int = 0) -> None:
        with self._lock:
            self.counts.searches += searches
            self.counts.retries += retries
            self.counts.failed += failed


def _fail(futures: Futures, error: SearchError) -> None:
    for waiting in futures.values():
        for future in waiting:
            if not future.done():
                future.set_exception(error)
