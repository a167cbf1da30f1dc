"""One request and its answer over HTTP: whole within its time and its bytes, or an error."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import NamedTuple

import aiohttp

from mrsearch.retries import TransientError

MAX_ERROR_BYTES = 2000
"""Of an answer that reports an error; the rest is not read."""


class Reply(NamedTuple):
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class OversizeError(ValueError):
    """An answer of more bytes than it may have."""


def bearer(token: str | None) -> dict[str, str]:
    """The header that carries a token; none without one."""
    return {"Authorization": f"Bearer {token}"} if token else {}


def open_session(connections: int, headers: Mapping[str, str] | None = None) -> aiohttp.ClientSession:
    """A session of the running event loop with so many connections at most, which sends `headers` with every request.

    Neither proxies nor credentials of the environment, nor cookies, nor compressed answers: requests and token go to
    the server that was named, and an answer is as large as what came over the wire.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity", **(headers or {})},
        auto_decompress=False,
        trust_env=False,
    )


def abandon(session: aiohttp.ClientSession) -> None:
    """Let go of a session whose event loop is over: there is nothing to wait for, and nothing to warn of."""
    closing = session.close()
    with contextlib.suppress(StopIteration, RuntimeError):
        closing.send(None)
    closing.close()


async def exchange(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    headers: Mapping[str, str] | None,
    seconds: float,
    max_bytes: int,
    body: bytes | None = None,
) -> Reply:
    """The server's answer. No redirect is followed, since it would carry the token elsewhere.

    headers: beside the session's own. max_bytes: of an answer with status 200; of others, the first `MAX_ERROR_BYTES`
    are read.

    Raises TransientError where no whole answer came within `seconds`, OversizeError for one of more than `max_bytes`.
    """
    limit = aiohttp.ClientTimeout(total=max(seconds, 0.001))  # aiohttp takes 0 for no limit
    try:
        async with session.request(
            method, url, data=body, headers=headers, timeout=limit, allow_redirects=False
        ) as answer:
            content = await _body(answer, max_bytes if answer.status == 200 else MAX_ERROR_BYTES)
            return Reply(answer.status, answer.headers, content)
    except TimeoutError as error:
        raise TransientError(f"{url}: no whole answer within {seconds:.3g} s") from error
    except (aiohttp.ClientError, OSError) as error:
        raise TransientError(f"{url}: {error!r}") from error


async def _body(answer: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in answer.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > max_bytes:
            answer.close()
            if answer.status == 200:
                raise OversizeError(f"{answer.url}: an answer of more than {max_bytes} bytes")
            break
    return b"".join(pieces)[:max_bytes]
