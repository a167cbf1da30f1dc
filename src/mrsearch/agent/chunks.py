"""Meta-episodes chunk by chunk, each kept as soon as it is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mrsearch.agent.batch import Job, check_jobs, run_batch
from mrsearch.agent.ports import Policy
from mrsearch.agent.record_files import read_records, write_sealed_records
from mrsearch.agent.records import MetaEpisode
from mrsearch.config.layout import RECORDS
from mrsearch.progress import Meter
from mrsearch.seal import is_sealed


class Chunks:
    """Record files that are read one after the other, as often as wanted."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def __iter__(self) -> Iterator[MetaEpisode]:
        for path in self._paths:
            yield from read_records(path)


async def run_chunks(
    jobs: Sequence[Job[MetaEpisode]], policy: Policy, concurrency: int, folder: Path, meter: Meter
) -> Chunks:
    """The records of all jobs in their order, `concurrency` jobs at a time and in a file.

    A finished chunk is a file in `folder`; interrupted work takes it from there and goes on with the first chunk
    that has none, or one that is not whole any more. What runs together does not depend on interruptions, so neither do
    the records. meter: is told of every job.
    """
    check_jobs(jobs, concurrency)
    chunks = []
    for number, first in enumerate(range(0, len(jobs), concurrency)):
        path = folder / f"{number:06d}{RECORDS}"
        chunk = jobs[first : first + concurrency]
        if is_sealed(path, len(chunk)):
            meter.skip(len(chunk))
        else:
            write_sealed_records(path, await run_batch(chunk, policy, concurrency))
        chunks.append(path)
    return Chunks(chunks)
