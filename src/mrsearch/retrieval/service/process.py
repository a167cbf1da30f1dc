"""Running the server process: opening index and socket, announcing itself, ending in good order."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import resource
import secrets
import socket
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from mrsearch.cluster.addresses import NETWORK, own_address
from mrsearch.config.retrieval import Service
from mrsearch.config.study import Study
from mrsearch.retrieval.indexes.index import open_searcher
from mrsearch.retrieval.indexes.passages import PassageStore
from mrsearch.retrieval.service.app import create_app
from mrsearch.retrieval.service.endpoint import Endpoint, publish
from mrsearch.retrieval.service.protocol import guarded

log = logging.getLogger(__name__)
LOOPBACK = ("127.0.0.1", "::1", "localhost")
EVERYWHERE = ("0.0.0.0", "::", "")
"""Hosts that stand for all addresses of a machine."""
KEEP_ALIVE_SECONDS = 60
"""An idle connection lives longer than clients would use it again: one that closes meets no request on its way."""
SPARE_FILES = 256
"""Open files of a server beside its connections."""
DRAIN_SECONDS = 30
"""How long a stopping server works on what it has taken."""
LEASE_TOUCH_SECONDS = 1.0
"""Requests renew the lease at most this often."""


@dataclass(frozen=True, slots=True)
class ManagedServer:
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


def serve(
    study: Study, corpus: Path, indexes: Path, managed: ManagedServer | None = None, without_token: bool = False
) -> None:
    """Serve the study's retriever until SIGTERM or SIGINT; requests in flight are answered first.

    Binds `retrieval.service.host`. Every request needs the bearer token that the environment variable MRSEARCH_BEARER
    sets; a managed server makes one up, and one on loopback may go `without_token`. ValueError if the index does not
    fit, if there is no token, or if other nodes cannot reach this one by its name, OSError if the port is taken.
    """
    service = study.retrieval.service
    bearer = _bearer(service.host, managed, without_token)
    address = announced(service.host)
    store = PassageStore(corpus)
    searcher = open_searcher(study, study.retrieval.use, store, indexes)
    searcher.search([store[0].title or store[0].text], 1)
    boot = f"{os.getpid()}-{time.time_ns()}"
    renew = _Renewal(managed.lease) if managed else (lambda: None)
    app = create_app(store, searcher, service, study.retrieval.topk, boot, bearer, renew)
    listener = _listen(service.host, service.port)
    endpoint = Endpoint(f"http://{address}:{listener.getsockname()[1]}", boot, bearer)
    server = server_of(app, service)
    if managed:
        _announce(app, managed.live, endpoint)
        threading.Thread(target=_end_with_parent, args=(server, managed.parent), daemon=True).start()
    # What is loaded by now stays: without this, every full garbage collection looks through all of torch's objects and
    # stops the server for a tenth of a second or two.
    gc.collect()
    gc.freeze()
    log.info("serving %d passages of retriever %s at %s", len(store), study.retrieval.use, endpoint.url)
    server.run(sockets=[listener])


def server_of(app: FastAPI, service: Service) -> uvicorn.Server:
    """The server of an application, with the limits of the service on its connections."""
    _allow_files(service.max_connections + SPARE_FILES)
    config = uvicorn.Config(
        app,
        http=guarded(service),
        ws="none",
        log_level="error",  # a warning for each unreadable request would let anybody fill the log
        access_log=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    return uvicorn.Server(config)


def _allow_files(count: int) -> None:
    """Every connection is an open file: raise this process's own limit as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


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


def _bearer(host: str, managed: ManagedServer | None, without_token: bool) -> str | None:
    bearer = os.environ.get("MRSEARCH_BEARER")
    if managed is not None:
        return bearer or secrets.token_urlsafe(32)
    if without_token and host not in LOOPBACK:
        raise ValueError(
            f"retrieval.service.host ({host}) can be reached from other machines: --without-token is for 127.0.0.1"
        )
    if not bearer and not without_token:
        raise ValueError(
            "every user of this machine can reach the server: set MRSEARCH_BEARER to the token that requests must "
            "carry, or, on 127.0.0.1, pass --without-token"
        )
    return None if without_token else bearer


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


def announced(host: str) -> str:
    """The address that others use for a server bound to `host`. ValueError where they cannot reach it by any."""
    if host in EVERYWHERE:
        address = own_address(os.environ.get(NETWORK))
        return f"[{address}]" if ":" in address else address
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
