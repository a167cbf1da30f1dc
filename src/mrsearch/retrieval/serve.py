"""Running the server process: opening index and socket, announcing itself, ending in good order."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from mrsearch.config.study import Study
from mrsearch.retrieval.endpoint import Endpoint, publish
from mrsearch.retrieval.indexes import open_searcher
from mrsearch.retrieval.passages import PassageStore
from mrsearch.retrieval.server import create_app

log = logging.getLogger(__name__)
LOOPBACK = ("127.0.0.1", "::1", "localhost")
DRAIN_SECONDS = 30
"""How long a stopping server works on what it has taken."""
LEASE_TOUCH_SECONDS = 1.0
"""Requests renew the lease at most this often."""


@dataclass(frozen=True, slots=True)
class Managed:
    """What ties a server to its supervisor."""

    live: Path
    """Endpoint file to write once the server answers, and to remove when it ends."""
    lease: Path
    """File whose modification time every search renews."""
    parent: int
    """Process without which the server ends."""


def let_threads_sleep() -> None:
    """Idle OpenMP threads of torch and FAISS sleep instead of spinning: they share cores with each other, and often
    with a trainer. Has an effect only before either is imported."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def serve(study: Study, corpus: Path, indexes: Path, managed: Managed | None = None) -> None:
    """Serve the study's retriever until SIGTERM or SIGINT; requests in flight are answered first.

    Binds `retrieval.service.host`; beyond loopback every request needs the bearer token that the environment variable
    MRSEARCH_BEARER sets (a managed server makes one up). ValueError if the index does not fit, OSError if the port is
    taken.
    """
    service = study.retrieval.service
    bearer = _bearer(service.host, managed)
    store = PassageStore(corpus)
    searcher = open_searcher(study, study.retrieval.use, store, indexes)
    searcher.search([store[0].title or store[0].text], 1)
    boot = f"{os.getpid()}-{time.time_ns()}"
    renew = _Renewal(managed.lease) if managed else (lambda: None)
    app = create_app(store, searcher, service, study.retrieval.topk, boot, bearer, renew)
    listener = _listen(service.host, service.port)
    endpoint = Endpoint(f"http://{_address(service.host)}:{listener.getsockname()[1]}", boot, bearer)
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=DRAIN_SECONDS)
    )
    if managed:
        _announce(app, managed.live, endpoint)
        threading.Thread(target=_end_with_parent, args=(server, managed.parent), daemon=True).start()
    # What is loaded by now stays: without this, every full garbage collection looks through all of torch's objects and
    # stops the server for a tenth of a second or two.
    gc.collect()
    gc.freeze()
    log.info("serving %d passages of retriever %s at %s", len(store), study.retrieval.use, endpoint.url)
    server.run(sockets=[listener])


class _Renewal:
    """Renews the lease on requests, without a system call for each."""

    def __init__(self, lease: Path) -> None:
        self._lease = lease
        self._last = 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        if now - self._last > LEASE_TOUCH_SECONDS:
            self._last = now
            with contextlib.suppress(FileNotFoundError):  # removed: the supervisor ends this server
                os.utime(self._lease)


def _bearer(host: str, managed: Managed | None) -> str | None:
    if host in LOOPBACK:
        return None
    given = os.environ.get("MRSEARCH_BEARER")
    if not given and managed is None:
        raise ValueError(
            f"retrieval.service.host ({host}) can be reached from other machines: set MRSEARCH_BEARER to the token "
            "that requests must carry, or bind 127.0.0.1"
        )
    return given or secrets.token_urlsafe(32)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches off Nagle's algorithm only for sockets that name their protocol: otherwise every answer waits
    # about 40 ms for the acknowledgement of its own headers.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(f"retrieval.service: cannot bind {host} port {port}: {error}; port 0 takes a free one") from error
    listener.listen(1024)
    listener.setblocking(False)
    return listener


def _address(host: str) -> str:
    """The address that other machines use for a server bound to `host`."""
    if host in ("0.0.0.0", "::"):
        return socket.getfqdn()
    return f"[{host}]" if ":" in host else host


def _announce(app: FastAPI, live: Path, endpoint: Endpoint) -> None:
    """Write the live endpoint file while the application runs."""
    inner = app.router.lifespan_context

    @contextlib.asynccontextmanager
    async def lifespan(application: FastAPI) -> AsyncIterator[None]:
        async with inner(application):
            publish(live, endpoint)
            try:
                yield
            finally:
                live.unlink(missing_ok=True)

    app.router.lifespan_context = lifespan


def _end_with_parent(server: uvicorn.Server, parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    log.warning("the supervisor is gone: ending")
    server.should_exit = True
