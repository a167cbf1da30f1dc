"""Prometheus metrics of one server."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mrsearch.retrieval.service.batching import Batcher

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)


class ServerMetrics:
    """Counters of one application, in a registry of their own."""

    def __init__(self, batcher: Batcher) -> None:
        self.registry = registry = CollectorRegistry()
        self.queries = Counter("mrsearch_queries", "Queries answered", registry=registry)
        self.requests = Counter("mrsearch_requests", "Requests", ["path", "status"], registry=registry)
        self.latency = Histogram("mrsearch_request_seconds", "Time to answer", buckets=SECONDS, registry=registry)
        self._sizes = Histogram("mrsearch_batch_queries", "Queries in a batch", buckets=SIZES, registry=registry)
        self._batch = Histogram("mrsearch_batch_seconds", "Time of a batch", buckets=SECONDS, registry=registry)
        Gauge("mrsearch_waiting", "Queries that wait", registry=registry).set_function(lambda: batcher.waiting)
        hits = Gauge("mrsearch_cache_hits", "Queries answered without a search so far", registry=registry)
        hits.set_function(lambda: batcher.cache_hits)
        batcher.on_batch = self._batch_done

    def _batch_done(self, size: int, seconds: float) -> None:
        self._sizes.observe(size)
        self._batch.observe(seconds)


class MetricsMiddleware:
    """ASGI middleware: counts and times every request."""

    def __init__(self, app: ASGIApp, metrics: ServerMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()

        async def note(message: Message) -> None:
            if message["type"] == "http.response.start":
                path = getattr(scope.get("route"), "path", "other")
                self._metrics.requests.labels(path, str(message["status"])).inc()
                self._metrics.latency.observe(time.perf_counter() - begun)
            await send(message)

        await self._app(scope, receive, note)
