"""One generation server over HTTP: whatever it answers, a request ends in time, in bounded memory and with a reason."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import aiohttp
import orjson
from tenacity import AsyncRetrying

from mrsearch.retries import TransientError, retry_after, while_transient

T = TypeVar("T")

LONGEST_PAUSE = 10.0
"""Seconds between two tries, at most."""
BUSY = frozenset({408, 425, 429})
"""Statuses below 500 after which another try may succeed."""
MAX_ERROR_BYTES = 64 * 1024
"""Of an answer that reports an error."""
SHOWN = 500
"""Characters of a server's own error message that ours shows."""


class Connection:
    """Requests to one server, each tried again while the server is away or overloaded.

    No proxy, cookie or redirect is followed: prompts and key go to the server and nowhere else.
    """

    def __init__(
        self, url: str, key: str | None, connections: int, timeout_seconds: float, patience_seconds: float
    ) -> None:
        """key: sent as a bearer token. connections: open at a time. timeout_seconds: of one try. patience_seconds: of
        all tries, as the error calls it; a request may have less."""
        self._url, self._timeout, self._patience = url.rstrip("/"), timeout_seconds, patience_seconds
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
            auto_decompress=False,
            trust_env=False,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()

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

        until: on the event loop's clock, when this and all tries end. max_bytes: of an answer. check: called before
        every try, to raise where it is in vain.

        Raises ValueError where the server refuses the request, answers what `read` or JSON does not allow or too much,
        or gives no answer in time.
        """
        data = orjson.dumps(body)
        try:
            answer = await self._answer(lambda: self._attempt(path, data, max_bytes, until, check), until)
        except TransientError as error:
            raise ValueError(
                f"the generation server did not answer within generator.patience_seconds ({self._patience:g}): {error}"
            ) from error
        try:
            return read(orjson.loads(answer))
        except (KeyError, TypeError, IndexError, ValueError) as error:
            shown = answer[:SHOWN].decode("utf-8", "replace")
            raise ValueError(f"{self._url}{path}: a malformed answer ({error!r}): {shown}") from error

    async def _answer(self, attempt: Callable[[], Coroutine[Any, Any, bytes]], until: float) -> bytes:
        """The first answer that is worth no other try. Tenacity, a tenth of a generation's cost, begins after a first
        failure."""
        failures: list[TransientError] = []
        try:
            return await attempt()
        except TransientError as error:
            failures.append(error)

        async def again() -> bytes:
            if failures:
                raise failures.pop()
            return await attempt()

        seconds_left = until - asyncio.get_running_loop().time()
        answer: bytes = await AsyncRetrying(**while_transient(seconds_left, LONGEST_PAUSE))(again)
        return answer

    async def _attempt(
        self, path: str, data: bytes, max_bytes: int, until: float, check: Callable[[], None] | None
    ) -> bytes:
        """The whole body of one answer with status 200."""
        if check is not None:
            check()
        # aiohttp takes 0 for no limit
        seconds = max(min(self._timeout, until - asyncio.get_running_loop().time()), 0.001)
        try:
            async with self._session.post(
                self._url + path, data=data, allow_redirects=False, timeout=aiohttp.ClientTimeout(total=seconds)
            ) as response:
                if response.status == 200:
                    return await self._body(response, max_bytes)
                text = (await self._body(response, MAX_ERROR_BYTES)).decode("utf-8", "replace")[:SHOWN]
                reason = f"{self._url}: HTTP {response.status}: {text}"
                if response.status in BUSY or response.status >= 500:
                    raise TransientError(reason, retry_after(response.headers))
                raise ValueError(reason)
        except TimeoutError as error:
            raise TransientError(f"{self._url}: no whole answer within {seconds:.3g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise TransientError(f"{self._url}: {error!r}") from error

    async def _body(self, response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
        body = bytearray()
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > max_bytes:
                raise ValueError(f"{self._url}: an answer of more than {max_bytes} bytes")
        return bytes(body)
