"""A client of the retrieval server, and of any server that speaks Search-R1's `/retrieve`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from tenacity import AsyncRetrying, RetryCallState, Retrying, retry_if_exception_type, stop_after_delay
from tenacity import wait_random_exponential as jitter

from mrsearch.agent.ports import Hit, Passage, SearchError
from mrsearch.config.retrieval import Client as ClientConfig
from mrsearch.data.corpus import parse_contents
from mrsearch.retrieval.endpoint import Endpoint, read_endpoint

RETRIED_STATUS = {408, 425, 429, 500, 502, 503, 504}
LONGEST_PAUSE = 5.0
"""Seconds between two tries, at most."""


class _TransientError(RuntimeError):
    """Worth another try."""

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


@dataclass(slots=True)
class Counts:
    """What a client did; the caller compares `failed` with its own limit."""

    searches: int = 0
    retries: int = 0
    failed: int = 0


class HttpEngine:
    """Searches over HTTP, from coroutines (`search`) and from threads (`search_many`).

    The endpoint file is read again before every try, so a restarted or moved server is found. Tries go on, with
    jitter, until `patience_seconds` are spent; then, or on an answer that no retry can mend, SearchError.
    """

    def __init__(self, endpoint: Path | str, config: ClientConfig) -> None:
        """endpoint: token, live endpoint file, or the URL of a server."""
        self._where = endpoint
        self._config = config
        self._limits = httpx.Limits(max_connections=256, max_keepalive_connections=64)
        self._async: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sync = httpx.Client(timeout=config.timeout_seconds, limits=self._limits)
        self._lock = threading.Lock()
        self.counts = Counts()

    async def search(self, query: str, topk: int) -> list[Hit]:
        """The hits of one query."""
        client = self._async_client()

        async def attempt() -> list[list[Hit]]:
            endpoint = self._endpoint()
            try:
                answer = await client.post(
                    f"{endpoint.url}/retrieve", json=_payload([query], topk), headers=endpoint.headers
                )
            except httpx.HTTPError as error:
                raise _TransientError(f"{endpoint.url}: {error!r}") from error
            return _read(answer, 1)

        self._count(searches=1)
        try:
            async for chance in AsyncRetrying(**self._policy()):
                with chance:
                    found = await attempt()
        except _TransientError as error:
            raise self._failure([query], error) from error
        except SearchError:
            self._count(failed=1)
            raise
        return found[0]

    def search_many(self, queries: Sequence[str], topk: int) -> list[list[Hit]]:
        """The hits of several queries in one request, blocking."""

        def attempt() -> list[list[Hit]]:
            endpoint = self._endpoint()
            try:
                answer = self._sync.post(
                    f"{endpoint.url}/retrieve", json=_payload(queries, topk), headers=endpoint.headers
                )
            except httpx.HTTPError as error:
                raise _TransientError(f"{endpoint.url}: {error!r}") from error
            return _read(answer, len(queries))

        self._count(searches=len(queries))
        try:
            found: list[list[Hit]] = Retrying(**self._policy())(attempt)
        except _TransientError as error:
            raise self._failure(queries, error) from error
        except SearchError:
            self._count(failed=len(queries))
            raise
        return found

    def close(self) -> None:
        """Close the connections of `search_many`; those of `search` end with their event loop."""
        self._sync.close()

    async def aclose(self) -> None:
        """Close all connections."""
        if self._async is not None and self._loop is asyncio.get_running_loop():
            await self._async.aclose()
        self._async = None
        self.close()

    def _async_client(self) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        if self._async is None or self._loop is not loop:
            self._async = httpx.AsyncClient(timeout=self._config.timeout_seconds, limits=self._limits)
            self._loop = loop
        return self._async

    def _endpoint(self) -> Endpoint:
        if isinstance(self._where, str):
            return Endpoint(self._where.rstrip("/"), "")
        endpoint = read_endpoint(self._where)
        if endpoint is None:
            raise _TransientError(f"{self._where}: no live retriever announces itself")
        return endpoint

    def _policy(self) -> dict[str, Any]:
        return {
            "retry": retry_if_exception_type(_TransientError),
            "stop": stop_after_delay(self._config.patience_seconds),
            "wait": _pause,
            "before_sleep": lambda _: self._count(retries=1),
            "reraise": True,
        }

    def _failure(self, queries: Sequence[str], error: Exception) -> SearchError:
        self._count(failed=len(queries))
        return SearchError(f"no answer for {queries[0]!r} within {self._config.patience_seconds:g} s: {error}")

    def _count(self, searches: int = 0, retries: int = 0, failed: int = 0) -> None:
        with self._lock:
            self.counts.searches += searches
            self.counts.retries += retries
            self.counts.failed += failed


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, _TransientError) else 0.0
    return min(LONGEST_PAUSE, asked + jitter(multiplier=0.1, max=LONGEST_PAUSE)(state))


def _payload(queries: Sequence[str], topk: int) -> dict[str, Any]:
    clean = [query.encode("utf-8", "replace").decode("utf-8") for query in queries]
    return {"queries": clean, "topk": topk, "return_scores": True}


def _read(answer: httpx.Response, expected: int) -> list[list[Hit]]:
    if answer.status_code in RETRIED_STATUS:
        raise _TransientError(f"{answer.url}: status {answer.status_code}", _retry_after(answer))
    if answer.status_code != 200:
        raise SearchError(f"{answer.url} refused the search ({answer.status_code}): {answer.text[:500]}")
    try:
        found = [[_hit(item) for item in items] for items in answer.json()["result"]]
    except (ValueError, KeyError, TypeError) as error:
        raise SearchError(f"{answer.url} answered in another format than Search-R1's /retrieve: {error!r}") from error
    if len(found) != expected:
        raise SearchError(f"{answer.url} answered {len(found)} queries of {expected}")
    return found


def _hit(item: dict[str, Any]) -> Hit:
    document = item["document"]
    title, text = parse_contents(document["contents"])
    return Hit(Passage(str(document.get("id", "")), title, text), float(item["score"]))


def _retry_after(answer: httpx.Response) -> float:
    try:
        return float(answer.headers.get("Retry-After", 0))
    except ValueError:
        return 0.0
