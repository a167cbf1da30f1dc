"""Records on the disk as soon as each is finished, read in the order of their jobs."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from mrsearch.agent.record_files import VERSION
from mrsearch.agent.record_lines import from_line, to_line
from mrsearch.agent.records import MetaEpisode

log = logging.getLogger(__name__)
PACKING_LEVEL = 1
"""Of zlib: the file lives as long as its evaluation does."""
HEAD_BYTES = 64
"""Of an entry's first line, at most."""


class Journal:
    """One file to which finished records are appended.

    Its first line names the jobs by a digest, and the version of their records. Every entry tells its job's number,
    its length and its checksum, so that whatever a kill or a power cut left half-written is known: the file is cut
    before the first such entry, and what stood behind it is made again.
    """

    def __init__(self, path: Path, request_ids: Sequence[str]) -> None:
        """path: made where it is not there, and made anew where it belongs to other jobs."""
        self.path, self._count, self._writing = path, len(request_ids), asyncio.Lock()
        digest = hashlib.sha256("\0".join(request_ids).encode()).hexdigest()
        self._head = f"journal of {self._count} jobs, records of version {VERSION}, {digest}\n".encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._offsets = self._recovered() if path.exists() else {}
        if not self._offsets:
            path.write_bytes(self._head)

    def __len__(self) -> int:
        """How many records are kept."""
        return len(self._offsets)

    def __contains__(self, number: int) -> bool:
        """Whether the record of this job is kept."""
        return number in self._offsets

    def __iter__(self) -> Iterator[MetaEpisode]:
        """The records in the order of their jobs, read one at a time; ValueError where one is missing."""
        with self.path.open("rb") as file:
            for number in range(self._count):
                if number not in self._offsets:
                    raise ValueError(f"{self.path}: job {number} of {self._count} has no record")
                file.seek(self._offsets[number])
                entry = _read_entry(file)
                if entry is None or entry[0] != number:
                    raise ValueError(f"{self.path}: damaged at byte {self._offsets[number]}: remove it and start again")
                yield from_line(zlib.decompress(entry[1]))

    async def add(self, number: int, record: MetaEpisode) -> None:
        """Keep a job's record; packed and written in a thread, so that other meta-episodes go on."""
        async with self._writing:
            self._offsets[number] = await asyncio.to_thread(self._append, number, record)

    def _append(self, number: int, record: MetaEpisode) -> int:
        payload = zlib.compress(to_line(record), PACKING_LEVEL)
        head = f"{number} {len(payload)} {zlib.crc32(payload, number):08x}\n".encode()
        with self.path.open("ab", buffering=0) as file:
            offset = file.seek(0, os.SEEK_END)
            file.write(head + payload + b"\n")
        return offset

    def _recovered(self) -> dict[int, int]:
        """Where each whole entry begins, by its job's number; the file ends behind the last one afterwards."""
        offsets: dict[int, int] = {}
        with self.path.open("rb+") as file:
            if file.readline(len(self._head)) != self._head:
                log.warning("%s: belongs to other jobs or is damaged: it is made anew", self.path)
                return {}
            offset = file.tell()
            while (entry := _read_entry(file)) is not None and entry[0] < self._count:
                offsets[entry[0]], offset = offset, file.tell()
            if offset < file.seek(0, os.SEEK_END):
                log.warning("%s: cut to the %d records that are whole", self.path, len(offsets))
                file.truncate(offset)
        return offsets


def _read_entry(file: BinaryIO) -> tuple[int, bytes] | None:
    """The job's number and the packed record that stand at the file's position; None where no whole entry does."""
    try:
        number, size, checksum = file.readline(HEAD_BYTES).split()
        length = int(size)
        if not 0 <= length <= os.fstat(file.fileno()).st_size:
            return None
        payload = file.read(length)
        intact = file.read(1) == b"\n" and zlib.crc32(payload, int(number)) == int(checksum, 16)
    except ValueError:
        return None
    return (int(number), payload) if intact else None
