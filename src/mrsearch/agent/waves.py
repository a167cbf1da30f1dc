"""Meta-episodes wave by wave, each kept as soon as it is done."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from mrsearch.agent.batch import Job, run_batch
from mrsearch.agent.ports import Policy
from mrsearch.agent.records import MetaEpisode, read_records, write_records


async def answer_in_waves(
    jobs: Sequence[Job[MetaEpisode]], policy: Policy, concurrency: int, kept: Path
) -> list[MetaEpisode]:
    """The records of all jobs in their order; made and kept as `make_waves` says."""
    waves = await make_waves(jobs, policy, concurrency, kept)
    return [record for wave in waves for record in read_records(wave)]


async def make_waves(jobs: Sequence[Job[MetaEpisode]], policy: Policy, concurrency: int, kept: Path) -> list[Path]:
    """The record files of all jobs in their order, `concurrency` jobs at a time and in a file.

    A finished wave is a file in the folder `kept`; interrupted work takes it from there and goes on with the first wave
    that has none. What runs together does not depend on interruptions, so neither do the records.
    """
    if concurrency < 1:
        raise ValueError(f"concurrency ({concurrency}) must be at least 1")
    waves = []
    for number, first in enumerate(range(0, len(jobs), concurrency)):
        path = kept / f"{number:06d}.jsonl.gz"
        if not path.is_file():
            write_records(path, await run_batch(jobs[first : first + concurrency], policy, concurrency))
        waves.append(path)
    return waves


def drop_waves(kept: Path) -> None:
    """Forget the finished waves."""
    shutil.rmtree(kept, ignore_errors=True)
