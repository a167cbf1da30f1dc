"""Requests to the hub or to a mirror of it: bounded in bytes and in time, and the token goes to the hub alone.

huggingface_hub says where a file lies and which token is ours. Its own transfers wait for ever on a body that drips,
write as much as a server sends, and hand the token to whatever address a mirror has.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import IO, Any, TypeVar
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

import httpx

HEAD_SECONDS = 60.0
"""In which the headers of an answer, or a whole short answer, must be there."""
WINDOW_SECONDS, WINDOW_BYTES = 60.0, 1 << 20
"""A body that brings less than these bytes in this time is given up: it drips."""
MOST_REDIRECTS = 5
T = TypeVar("T")


class Transient(OSError):
    """A transfer that another attempt may mend."""


class Refused(ValueError):
    """An answer that no other attempt mends."""


@dataclass(frozen=True)
class Answer:
    """Status and headers of an answer, where it came from, and its body where that was asked for."""

    status: int
    headers: httpx.Headers
    url: str
    body: bytes = b""


def without_password(address: str) -> str:
    """An address as messages and logs may show it."""
    address_parts = urlsplit(address)
    return urlunsplit(address_parts._replace(netloc=address_parts.netloc.rpartition("@")[2]))


def authorised(address: str) -> dict[str, str]:
    """The header with the user's token where the address is the hub's own and nobody reads along; else none."""
    from huggingface_hub import constants, get_token

    token, address_parts, hub = get_token(), urlsplit(address), urlsplit(constants.ENDPOINT)
    secure = address_parts.scheme == hub.scheme == "https"
    return {"Authorization": f"Bearer {token}"} if token and secure and address_parts.netloc == hub.netloc else {}


def look(url: str, follow: bool = False) -> Answer:
    """The answer to a HEAD request. Redirects are followed within their host; with `follow`, elsewhere too."""
    return _run(_bounded(_answer("HEAD", url, 0, follow), url))


def read(url: str, most_bytes: int) -> Answer:
    """The answer to a GET request; Refused where its body is longer."""
    return _run(_bounded(_answer("GET", url, most_bytes, follow=True), url))


def stream(url: str, target: IO[bytes], start: int, size: int) -> None:
    """Append the bytes of a file from `start` on to `target`, which holds the ones before, up to `size` in all.

    Where the server begins at 0 all the same, so does the file. Transient where the transfer breaks, drips, or brings
    another number of bytes; never more than `size` are written.
    """
    _run(_stream(url, target, start, size))


def check_status(status: int, label: str) -> None:
    """Transient where waiting may help, Refused where it does not; nothing for a success."""
    if status in (200, 206):
        return
    if status in (408, 429) or status >= 500:
        raise Transient(f"HTTP {status}")
    reason = {
        401: "access needs a token: log in with `hf auth login` or set HF_TOKEN",
        403: "access is refused: accept the licence on the hub's page and set HF_TOKEN",
        404: "it does not exist there",
        416: "the part that is missing does not exist there",
    }.get(status, f"the answer was HTTP {status}")
    raise Refused(f"{label}: {reason}")


async def _answer(method: str, url: str, most_bytes: int, follow: bool) -> Answer:
    async with _client() as client:
        for _ in range(MOST_REDIRECTS):
            async with _request(client, method, url) as response:
                onward = _onward(response, url)
                if onward is None or not (follow or _host(onward) == _host(url)):
                    body = await _body(response, url, most_bytes) if method == "GET" else b""
                    return Answer(response.status_code, response.headers, onward or url, body)
                url = onward
    raise Refused(f"{without_password(url)}: leads on more than {MOST_REDIRECTS} times")


async def _body(response: httpx.Response, url: str, most_bytes: int) -> bytes:
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > most_bytes:
            raise Refused(f"{without_password(url)}: an answer of more than {most_bytes:,} bytes")
    return bytes(body)


async def _stream(url: str, target: IO[bytes], start: int, size: int) -> None:
    async with _client() as client:
        for _ in range(MOST_REDIRECTS):
            request = _request(client, "GET", url, start)
            response = await _bounded(request.__aenter__(), url)
            try:
                if (onward := _onward(response, url)) is None:
                    check_status(response.status_code, without_password(url))
                    if response.status_code == 200:
                        start = 0
                        target.seek(0)
                        target.truncate()
                    return await _store(response, target, size - start)
                url = onward
            finally:
                await request.__aexit__(None, None, None)
    raise Refused(f"{without_password(url)}: leads on more than {MOST_REDIRECTS} times")


async def _store(response: httpx.Response, target: IO[bytes], size: int) -> None:
    announced = response.headers.get("Content-Length", "")
    if announced.isdecimal() and int(announced) != size:
        raise Transient(f"{int(announced):,} bytes are announced, {size:,} are wanted")
    remaining, begun, before = size, time.monotonic(), size
    async with asyncio.timeout(WINDOW_SECONDS) as window:
        async for piece in response.aiter_raw():
            target.write(piece[:remaining])
            remaining -= len(piece)
            if remaining < 0:
                raise Transient(f"more than the {size:,} bytes that are wanted arrived")
            if before - remaining >= WINDOW_BYTES:
                begun, before = time.monotonic(), remaining
                window.reschedule(asyncio.get_running_loop().time() + WINDOW_SECONDS)
            elif time.monotonic() - begun > WINDOW_SECONDS:
                raise Transient(f"fewer than {WINDOW_BYTES:,} bytes in {WINDOW_SECONDS:g} s")
    if remaining:
        raise Transient(f"{remaining:,} of {size:,} bytes did not arrive")


def _client() -> httpx.AsyncClient:
    from huggingface_hub import constants

    return httpx.AsyncClient(timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT, follow_redirects=False)


def _request(client: httpx.AsyncClient, method: str, url: str, start: int = 0) -> Any:
    """The request; name and password of the address go into its header, where no log shows them."""
    address_parts = urlsplit(url)
    headers = {"Accept-Encoding": "identity", **authorised(url)}
    if start:
        headers["Range"] = f"bytes={start}-"
    login = (
        None
        if address_parts.username is None
        else (unquote(address_parts.username), unquote(address_parts.password or ""))
    )
    return client.stream(method, without_password(url), headers=headers, auth=login)


def _onward(response: httpx.Response, url: str) -> str | None:
    """Where an answer leads; Refused where that is less secure than where it came from."""
    if not response.has_redirect_location:
        return None
    onward = urljoin(url, response.headers["Location"])
    before, after = urlsplit(url), urlsplit(onward)
    if after.scheme not in ("http", "https") or (before.scheme, after.scheme) == ("https", "http"):
        raise Refused(f"{without_password(url)}: leads on to an address that is not secure")
    if before.username is not None and after.username is None and _host(url) == _host(onward):
        return urlunsplit(after._replace(netloc=f"{before.netloc.rpartition('@')[0]}@{after.netloc}"))
    return onward


def _host(url: str) -> tuple[str, str]:
    address_parts = urlsplit(url)
    return address_parts.scheme, address_parts.netloc.rpartition("@")[2]


async def _bounded(request: Coroutine[Any, Any, T], url: str) -> T:
    try:
        async with asyncio.timeout(HEAD_SECONDS):
            return await request
    except TimeoutError as error:
        raise Transient(f"{without_password(url)}: no answer within {HEAD_SECONDS:g} s") from error


def _run(request: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(request)
    except TimeoutError as error:
        raise Transient(f"fewer than {WINDOW_BYTES:,} bytes in {WINDOW_SECONDS:g} s") from error
    except httpx.HTTPError as error:
        raise Transient(f"{type(error).__name__}: {error}") from error
    except httpx.InvalidURL as error:
        raise Refused(f"is no address: {error}") from error
