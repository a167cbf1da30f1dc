"""Many meta-episodes at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from mrsearch.agent.ports import BatchingPolicy, Policy

T = TypeVar("T")
Job = tuple[str, Callable[[], Awaitable[T]]]
"""A request id and what starts its meta-episode."""


async def run_batch(jobs: Sequence[Job[T]], policy: Policy, concurrency: int) -> list[T]:
    """The results of all jobs, in their order.

    Jobs run in chunks of `concurrency`: a chunk ends before the next begins, so that what runs together does not depend
    on timing. The first exception cancels the rest of its chunk, starts no other, and propagates.
    """
    check_jobs(jobs, concurrency)
    results: list[T] = []
    for first in range(0, len(jobs), concurrency):
        results += await _chunk(jobs[first : first + concurrency], policy)
    return results


def check_jobs(jobs: Sequence[Job[T]], concurrency: int) -> None:
    """ValueError where nothing would run, or where two jobs would draw the same random numbers."""
    if concurrency < 1:
        raise ValueError(f"concurrency ({concurrency}) must be at least 1")
    if len({request_id for request_id, _ in jobs}) != len(jobs):
        raise ValueError("two jobs have the same request id: their random numbers would coincide")


class NoPolicy:
    """Stands where `run_batch` wants a policy while every job has one of its own."""

    async def generate(self, *_: object) -> Any:
        raise AssertionError("each job asks its own policy")


async def _chunk(jobs: Sequence[Job[T]], policy: Policy) -> list[T]:
    batching = policy if isinstance(policy, BatchingPolicy) else None
    tasks: list[asyncio.Task[T]] = []
    for request_id, start in jobs:
        task = asyncio.ensure_future(_run(start))
        tasks.append(task)
        if batching:
            batching.attach(request_id)
            # A callback, not a finally clause: a task cancelled before its first step never runs one.
            task.add_done_callback(lambda _, name=request_id: batching.detach(name))  # type: ignore[misc]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def _run(start: Callable[[], Awaitable[T]]) -> T:
    return await start()
