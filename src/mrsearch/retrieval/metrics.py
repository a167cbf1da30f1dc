"""Prometheus metrics of one server."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from fastapi import Request, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from mrsearch.retrieval.batching import Batcher

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)


class Metrics:
    """Counters of one application, in a registry of their own."""

    def __init__(self, batcher: Batcher) -> None:
        self.registry = registry = CollectorRegistry()
        self.queries = Counter("mrsearch_queries", "Queries answered", registry=registry)
        self._requests = Counter("mrsearch_requests", "Requests", ["path", "status"], registry=registry)
        self._latency = Histogram("mrsearch_request_seconds", "Time to answer", buckets=SECONDS, registry=registry)
        self._sizes = Histogram("mrsearch_batch_queries", "Queries in a batch", buckets=SIZES, registry=registry)
        self._batch = Histogram("mrsearch_batch_seconds", "Time of a batch", buckets=SECONDS, registry=registry)
        Gauge("mrsearch_waiting", "Queries that wait", registry=registry).set_function(lambda: batcher.waiting)
        for name in ("cache_hits", "cache_misses"):
            gauge = Gauge(f"mrsearch_{name}", name.replace("_", " ") + " so far", registry=registry)
            gauge.set_function(lambda name=name: getattr(batcher, name))  # type: ignore[misc]
        batcher.on_batch = self._batch_done

    async def middleware(self, request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        """Counts and times every request."""
        begun = time.perf_counter()
        response = await call_next(request)
        route = request.scope.get("route")
        path = getattr(route, "path", "other")
        self._requests.labels(path, str(response.status_code)).inc()
        self._latency.observe(time.perf_counter() - begun)
        return response

    def _batch_done(self, size: int, seconds: float) -> None:
        self._sizes.observe(size)
        self._batch.observe(seconds)
