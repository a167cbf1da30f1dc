"""Where a running server can be reached: token and live endpoint file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import httpx

from mrsearch.files import read_json, write_json


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
        return {"Authorization": f"Bearer {self.bearer}"} if self.bearer else {}


def live_path(token: Path) -> Path:
    """The live endpoint file beside a token."""
    return token.with_name(token.name + ".live")


def publish(live: Path, endpoint: Endpoint) -> None:
    """Announce a server; only its owner may read the file, since it may hold a secret."""
    write_json(live, {"url": endpoint.url, "boot": endpoint.boot, "bearer": endpoint.bearer}, mode=0o600)


def read_endpoint(path: Path) -> Endpoint | None:
    """The endpoint that a live file holds or that a token points to; None if there is none at the moment."""
    value = read_json(path)
    if isinstance(value, dict) and "live" in value:
        value = read_json(path.parent / value["live"])
    elif value is None:
        value = read_json(live_path(path))
    if not isinstance(value, dict) or "url" not in value:
        return None
    return Endpoint(value["url"], value.get("boot", ""), value.get("bearer"))


def healthy(endpoint: Endpoint | None, timeout: float = 5.0) -> bool:
    """Whether the server that announced itself so is there and answers a query."""
    if endpoint is None:
        return False
    try:
        answer = httpx.get(f"{endpoint.url}/health", headers=endpoint.headers, timeout=timeout)
        return answer.status_code == 200 and answer.json().get("boot") == endpoint.boot
    except (httpx.HTTPError, ValueError):
        return False
