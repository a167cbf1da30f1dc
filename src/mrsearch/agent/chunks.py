"""Meta-episodes chunk by chunk, each kept as soon as it is done."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from mrsearch.agent.batch import Job, run_batch
from mrsearch.agent.ports import Policy
from mrsearch.agent.records import MetaEpisode, read_records, write_sealed_records
from mrsearch.seal import is_sealed


async def answer_in_chunks(
    jobs: Sequence[Job[MetaEpisode]], policy: Policy, concurrency: int, folder: Path
) -> list[MetaEpisode]:
    """The records of all jobs in their order; made and kept as `make_chunks` says."""
    chunks = await make_chunks(jobs, policy, concurrency, folder)
    return [record for chunk in chunks for record in read_records(chunk)]


async def make_chunks(jobs: Sequence[Job[MetaEpisode]], policy: Policy, concurrency: int, folder: Path) -> list[Path]:
    """The record files of all jobs in their order, `concurrency` jobs at a time and in a file.

    A finished chunk is a file in `folder`; interrupted work takes it from there and goes on with the first chunk
    that has none, or one that is not whole any more. What runs together does not depend on interruptions, so neither do
    the records.
    """
    if concurrency < 1:
        raise ValueError(f"concurrency ({concurrency}) must be at least 1")
    chunks = []
    for number, first in enumerate(range(0, len(jobs), concurrency)):
        path = folder / f"{number:06d}.jsonl.gz"
        chunk = jobs[first : first + concurrency]
        if not is_sealed(path, len(chunk)):
            write_sealed_records(path, await run_batch(chunk, policy, concurrency))
        chunks.append(path)
    return chunks


def drop_chunks(folder: Path) -> None:
    """Forget the finished chunks."""
    shutil.rmtree(folder, ignore_errors=True)
