"""Whether a retrieval server answers as its index does, and how fast."""

from __future__ import annotations

import asyncio
import itertools
import time
from pathlib import Path

from mrsearch.agent.questions import read_questions
from mrsearch.config import Study
from mrsearch.config.layout import Layout
from mrsearch.retrieval.engine import open_engine

IN_FLIGHT = 64


def compare_and_time(study: Study, layout: Layout, endpoint: Path, searches: int) -> tuple[int, float]:
    """Ask the server and the index in this process the same questions; returns their number and the searches a second
    that the server then answers, 64 in flight. ValueError where an answer differs."""
    benchmarks = [layout.questions(benchmark) for benchmark in study.benchmarks]
    queries = [question.question for path in benchmarks for question in read_questions(path)]
    alone = study.model_copy(
        update={
            "retrieval": study.retrieval.model_copy(
                update={"service": study.retrieval.service.model_copy(update={"mode": "in_process"})}
            )
        }
    )
    return asyncio.run(_compare_and_time(study, alone, layout, endpoint, queries, searches))


async def _compare_and_time(
    study: Study, alone: Study, layout: Layout, endpoint: Path, queries: list[str], searches: int
) -> tuple[int, float]:
    topk = study.retrieval.topk
    server = open_engine(study, layout.corpus, layout.indexes, endpoint)
    index = open_engine(alone, layout.corpus, layout.indexes)
    try:
        for query in queries:
            served, direct = await server.search(query, topk), await index.search(query, topk)
            if [hit.passage.id for hit in served] != [hit.passage.id for hit in direct]:
                raise ValueError(f"the retriever answers {query!r} otherwise than its index does in this process")
        slots = asyncio.Semaphore(IN_FLIGHT)

        async def ask(number: int, query: str) -> None:
            async with slots:
                await server.search(f"{query} {number}", topk)  # no two alike, so that no cache answers

        began = time.monotonic()
        await asyncio.gather(*(ask(n, q) for n, q in enumerate(itertools.islice(itertools.cycle(queries), searches))))
        return len(queries), searches / (time.monotonic() - began)
    finally:
        await server.aclose()
        await index.aclose()
