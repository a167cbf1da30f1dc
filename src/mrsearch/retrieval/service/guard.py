"""The door of the retrieval server: nothing behind it is read, parsed or shown without the token."""

from __future__ import annotations

import secrets

import orjson
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send


class Guard:
    """ASGI middleware: 401 for every request without the bearer token, whatever its path, before its body is read."""

    def __init__(self, app: ASGIApp, bearer: str) -> None:
        assert bearer, "a server without a token has no guard"
        self._app, self._bearer = app, bearer.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._knows(Headers(scope=scope).get("authorization", "")):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await _REFUSAL(scope, receive, send)

    def _knows(self, header: str) -> bool:
        scheme, _, token = header.partition(" ")
        return secrets.compare_digest(token.strip().encode(), self._bearer) and scheme.lower() == "bearer"


_REFUSAL = Response(
    orjson.dumps({"detail": "send the bearer token"}),
    401,
    {"WWW-Authenticate": "Bearer", "Connection": "close"},
    "application/json",
)
