"""A sliding window of meta-episodes: as soon as one is finished, the next begins."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from mrsearch.agent.batch import Job, check_jobs
from mrsearch.agent.journal import Journal
from mrsearch.agent.ports import BatchingPolicy, Policy
from mrsearch.agent.records import MetaEpisode


async def run_window(jobs: Sequence[Job[MetaEpisode]], policy: Policy, concurrency: int, journal: Journal) -> None:
    """Keep every job's record in the journal; jobs whose record it has are not run again.

    Up to `concurrency` jobs are in flight, begun in their order. The first exception cancels the others and propagates;
    what was finished before it stays in the journal.
    """
    check_jobs(jobs, concurrency)
    todo = iter([number for number in range(len(jobs)) if number not in journal])
    workers = [asyncio.ensure_future(_work(jobs, todo, policy, journal)) for _ in range(min(concurrency, len(jobs)))]
    try:
        await asyncio.gather(*workers)
    except BaseException:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        raise


async def _work(jobs: Sequence[Job[MetaEpisode]], todo: Iterator[int], policy: Policy, journal: Journal) -> None:
    """One slot of the window: run what nobody has begun yet, until nothing is left."""
    batching = policy if isinstance(policy, BatchingPolicy) else None
    for number in todo:
        request_id, start = jobs[number]
        if batching:
            batching.attach(request_id)
        try:
            record = await start()
        finally:
            if batching:
                batching.detach(request_id)
        await journal.add(number, record)
