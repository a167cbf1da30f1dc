"""Where a running server can be reached: endpoint file and live endpoint."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import orjson

from mrsearch.exchange import Reply, bearer, exchange, open_session
from mrsearch.files import read_json, write_json
from mrsearch.retries import TransientError

MAX_HEALTH_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server as it last announced itself."""

    url: str
    boot: str
    """Identity of the server process; changes at every start."""
    bearer: str | None = None
    """Secret that requests must carry, if any."""

    @property
    def headers(self) -> dict[str, str]:
        """Headers of every request."""
        return bearer(self.bearer)


def live_path(endpoint_file: Path) -> Path:
    """The live endpoint beside an endpoint file."""
    return endpoint_file.with_name(endpoint_file.name + ".live")


def publish(live: Path, endpoint: Endpoint) -> None:
    """Announce a server; only its owner may read the file, since it may hold a secret."""
    write_json(live, {"url": endpoint.url, "boot": endpoint.boot, "bearer": endpoint.bearer}, mode=0o600)


def read_endpoint(path: Path) -> Endpoint | None:
    """The endpoint that a live file holds or that an endpoint file points to; None if there is none at the moment."""
    value = read_json(path)
    if isinstance(value, dict) and isinstance(live := value.get("live"), str):
        value = read_json(path.with_name(Path(live).name or path.name))
    elif value is None:
        value = read_json(live_path(path))
    if not isinstance(value, dict) or not isinstance(value.get("url"), str):
        return None
    boot, token = value.get("boot"), value.get("bearer")
    return Endpoint(value["url"], str(boot or ""), token if isinstance(token, str) else None)


def healthy(endpoint: Endpoint | None, timeout: float = 5.0) -> bool:
    """Whether the server that announced itself so is there and answers a query within `timeout` seconds."""
    if endpoint is None:
        return False

    async def ask() -> Reply:
        async with open_session(1) as session:
            url = f"{endpoint.url}/health"
            return await exchange(session, "GET", url, endpoint.headers, timeout, MAX_HEALTH_BYTES)

    try:
        reply = asyncio.run(ask())
        health = orjson.loads(reply.body)
    except (TransientError, ValueError):
        return False
    return reply.status == 200 and isinstance(health, dict) and health.get("boot") == endpoint.boot
