"""The retrieval server: Search-R1's `/retrieve`, a health check that searches, and Prometheus metrics."""

# Annotations stay objects here: FastAPI reads the request model, which is made per application.
import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import orjson
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict, Field, create_model

from mrsearch.config.retrieval import Service
from mrsearch.data.corpus import format_contents
from mrsearch.retrieval.indexes.passages import PassageStore
from mrsearch.retrieval.indexes.ranking import Ranking, Searcher
from mrsearch.retrieval.service.batching import Batcher
from mrsearch.retrieval.service.client import CLIENT_HEADER
from mrsearch.retrieval.service.fair_queue import QueueFullError
from mrsearch.retrieval.service.guard import Guard
from mrsearch.retrieval.service.metrics import MetricsMiddleware, ServerMetrics

log = logging.getLogger(__name__)
RETRY_AFTER_SECONDS = 1


class Document(BaseModel):
    """A passage as Search-R1 sends it: the first line of `contents` is its title, quoted where the corpus quotes it."""

    id: str
    contents: str


class ScoredDocument(BaseModel):
    """A passage and its score (larger is better)."""

    document: Document
    score: float


class RetrieveAnswer(BaseModel):
    """One list per query, best first: documents with scores, or documents alone, as asked."""

    result: list[list[ScoredDocument]] | list[list[Document]]


class ServerHealth(BaseModel):
    """A server that has just answered a query."""

    status: str
    boot: str
    passages: int


class Problem(BaseModel):
    """Why a request was refused."""

    detail: Any


def create_app(
    store: PassageStore,
    searcher: Searcher,
    service: Service,
    topk: int,
    boot: str = "",
    bearer: str | None = None,
    on_request: Callable[[], None] = lambda: None,
) -> FastAPI:
    """The application.

    topk: what a request without one gets; boot: this process's identity, told by `/health`; bearer: secret that every
    request must carry, whatever it asks for; on_request: called for every search.
    """
    batcher = Batcher(searcher, service.cache_entries, service.max_queue, True, service.cache_bytes)
    metrics = ServerMetrics(batcher)
    app = FastAPI(
        title="mrsearch retriever",
        summary="Passages for queries",
        dependencies=[Depends(HTTPBearer(auto_error=False))] if bearer else [],  # in the schema; `Guard` checks
        responses={401: {"model": Problem, "description": "The bearer token is missing or wrong"}} if bearer else {},
        on_shutdown=[batcher.close],
        max_body_size=service.max_body_bytes,
    )
    app.add_exception_handler(RequestValidationError, _invalid)
    if bearer:
        app.add_middleware(Guard, bearer=bearer)
    app.add_middleware(MetricsMiddleware, metrics=metrics)
    probe = store[0].title or store[0].text
    request_type = _request_model(service, topk)

    @app.post("/retrieve", response_model=RetrieveAnswer, responses=_REFUSALS)
    async def retrieve(request: Request, body: request_type) -> Response:  # type: ignore[valid-type]
        """The passages that match each query, in the order of the queries."""
        search_request: Any = body
        depth = min(search_request.topk or topk, len(store))
        if len(search_request.queries) * depth > service.max_hits:
            raise HTTPException(422, f"more than {service.max_hits} passages asked for: send fewer queries at once")
        on_request()
        try:
            rankings = batcher.cached(search_request.queries, depth)
            if rankings is None:
                rankings = await _unless_gone(request, batcher.ask(search_request.queries, depth, _client(request)))
        except Exception as error:
            raise _unavailable(error) from error
        if rankings is None:
            return Response(status_code=499)  # nobody reads it
        metrics.queries.inc(len(rankings))
        result = [_documents(store, ranking, search_request.return_scores) for ranking in rankings]
        return Response(orjson.dumps({"result": result}), media_type="application/json")

    @app.get("/health", response_model=ServerHealth, responses={503: {"model": Problem, "description": "No answer"}})
    async def health() -> ServerHealth:
        """Runs a query through the whole path, cache apart."""
        try:
            ranking = await batcher.fresh(probe, 1)
        except Exception as error:
            raise _unavailable(error) from error
        if not ranking.positions:
            raise HTTPException(503, "the health query found nothing")
        return ServerHealth(status="ok", boot=boot, passages=len(store))

    @app.get("/metrics", response_class=Response)
    async def show_metrics() -> Response:
        """Counters and histograms in Prometheus's text format."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return app


_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The body cannot be read"},
    413: {"description": "The body is too large", "content": {"text/plain": {}}},
    422: {"model": Problem, "description": "The body is not a valid request"},
    503: {
        "model": Problem,
        "description": "Too many queries wait, or searching failed: come back after Retry-After seconds",
    },
}


def _request_model(service: Service, topk: int) -> type[BaseModel]:
    """The request body, with the limits of the service in its schema."""
    query: Any = Annotated[str, Field(max_length=service.max_query_chars)]
    # More queries than may wait could never be taken.
    queries: Any = Annotated[list[query], Field(max_length=min(service.max_queries, service.max_queue))]
    count: Any = Annotated[int, Field(ge=1, le=service.max_topk, description=f"Passages per query; null is {topk}")]
    return create_model(
        "RetrieveRequest",
        __config__=ConfigDict(strict=True),
        queries=(queries, ...),
        topk=(count | None, None),
        return_scores=(bool, False),
    )


def _documents(store: PassageStore, ranking: Ranking, with_scores: bool) -> list[dict[str, Any]]:
    passages = [store[position] for position in ranking.positions]
    documents = [{"id": item.id, "contents": format_contents(item.title, item.text)} for item in passages]
    if not with_scores:
        return documents
    return [{"document": doc, "score": score} for doc, score in zip(documents, ranking.scores, strict=True)]


def _client(request: Request) -> str:
    """Whose turn a request takes: the client's that it names, else its connection's."""
    host, port = request.client or ("", 0)
    return f"{host} {request.headers.get(CLIENT_HEADER, '')[:64] or port}"


async def _unless_gone(request: Request, work: Coroutine[Any, Any, list[Ranking]]) -> list[Ranking] | None:
    """What the work returns or raises; None, and the work is cancelled, if the client hangs up before."""
    working, leaving = asyncio.create_task(work), asyncio.create_task(_hangs_up(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        leaving.cancel()


async def _hangs_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _unavailable(error: Exception) -> HTTPException:
    """503: come back later if the queue is full; the reason if searching itself failed."""
    if not isinstance(error, QueueFullError):
        log.error("a search failed", exc_info=error)
    return HTTPException(503, str(error), headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


async def _invalid(_: Request, error: Exception) -> Response:
    """422 that says where and why, without the input: it may be huge or not valid unicode."""
    assert isinstance(error, RequestValidationError)
    problems = [{"loc": problem["loc"], "msg": problem["msg"], "type": problem["type"]} for problem in error.errors()]
    return Response(orjson.dumps({"detail": problems}), 422, media_type="application/json")
