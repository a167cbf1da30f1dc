"""One generation server over HTTP: whatever it answers, a request ends in time, in bounded memory and with a reason."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import orjson

from mrsearch.exchange import abandon, bearer, exchange, open_session
from mrsearch.retries import TransientError, may_pass, retry_after, until_answered

T = TypeVar("T")

LONGEST_PAUSE = 10.0
"""Seconds between two tries, at most."""
SHOWN = 500
"""Characters of a server's own error message that ours shows."""


class Connection:
    """Requests to one server, each tried again while the server is away or overloaded."""

    def __init__(
        self, url: str, key: str | None, connections: int, timeout_seconds: float, patience_seconds: float
    ) -> None:
        """key: sent as a bearer token. connections: open at a time. timeout_seconds: of one try. patience_seconds: of
        all tries, as the error calls it; a request may have less."""
        self._url, self._timeout, self._patience = url.rstrip("/"), timeout_seconds, patience_seconds
        self._session = open_session(connections, {"Content-Type": "application/json", **bearer(key)})

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()

    def abandon(self) -> None:
        """Let go of all connections where their event loop is over."""
        abandon(self._session)

    async def post(
        self,
        path: str,
        body: Any,
        read: Callable[[Any], T],
        *,
        until: float,
        max_bytes: int,
        check: Callable[[], None] | None = None,
    ) -> T:
        """What `read` makes of the answer to `body`, both JSON.

        until: on the monotonic clock, when this and all tries end. max_bytes: of an answer. check: called before every
        try, to raise where it is in vain.

        Raises ValueError where the server refuses the request, answers what `read` or JSON does not allow or too much,
        or gives no answer in time.
        """
        data = orjson.dumps(body)

        async def attempt() -> bytes:
            if check is not None:
                check()
            return await self._attempt(path, data, until, max_bytes)

        try:
            answer = await until_answered(attempt, until, LONGEST_PAUSE)
        except TransientError as error:
            raise ValueError(
                f"the generation server did not answer within generator.patience_seconds ({self._patience:g}): {error}"
            ) from error
        try:
            return read(orjson.loads(answer))
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise ValueError(f"{self._url}{path}: a malformed answer ({error!r}): {_shown(answer)}") from error

    async def _attempt(self, path: str, data: bytes, until: float, max_bytes: int) -> bytes:
        """The whole body of one answer with status 200."""
        seconds = min(self._timeout, until - time.monotonic())
        reply = await exchange(self._session, "POST", self._url + path, None, seconds, max_bytes, data)
        if reply.status == 200:
            return reply.body
        reason = f"{self._url}{path}: HTTP {reply.status}: {_shown(reply.body)}"
        if may_pass(reply.status):
            raise TransientError(reason, retry_after(reply.headers))
        raise ValueError(reason)


def _shown(body: bytes) -> str:
    return body[:SHOWN].decode("utf-8", "replace")
