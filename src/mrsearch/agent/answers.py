"""The records of many meta-episodes, kept while they are made, so that an interruption loses little."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

from mrsearch.agent.batch import Job
from mrsearch.agent.chunks import run_chunks
from mrsearch.agent.journal import Journal
from mrsearch.agent.ports import Policy
from mrsearch.agent.records import MetaEpisode
from mrsearch.agent.window import run_window
from mrsearch.progress import Meter

JOURNAL = "records.journal"


async def answers(
    jobs: Sequence[Job[MetaEpisode]],
    policy: Policy,
    concurrency: int,
    folder: Path,
    meter: Meter,
    *,
    whole_batches: bool,
) -> Iterable[MetaEpisode]:
    """The records of all jobs in their order, as often as they are iterated, read from files in `folder`.

    whole_batches: whether the policy's records depend on what runs together: then `concurrency` jobs end before the
    next begin, and an interruption loses those. Otherwise a job begins as soon as another has ended, and nothing that
    was finished is run again.
    """
    watched = [(request_id, _watched(start, meter)) for request_id, start in jobs]
    if whole_batches:
        return await run_chunks(watched, policy, concurrency, folder, meter)
    journal = Journal(folder / JOURNAL, [request_id for request_id, _ in jobs])
    meter.skip(len(journal))
    await run_window(watched, policy, concurrency, journal)
    return journal


def drop_answers(folder: Path) -> None:
    """Forget what was kept."""
    shutil.rmtree(folder, ignore_errors=True)


def _watched(start: Callable[[], Awaitable[MetaEpisode]], meter: Meter) -> Callable[[], Awaitable[MetaEpisode]]:
    async def run() -> MetaEpisode:
        record = await start()
        meter.advance(1)
        return record

    return run
