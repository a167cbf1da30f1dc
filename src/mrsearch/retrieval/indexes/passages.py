"""The passage store: a corpus as one memory-mapped file with offsets.

A store is a folder of `passages.bin` (records `id LF title LF text`, one after the other), `offsets.u64` (N + 1
little-endian positions) and `store.json` (counts and the corpus hash). Opening it reads only `store.json`.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from mrsearch.agent.ports import Passage
from mrsearch.files import atomic_folder
from mrsearch.retrieval.indexes.passage_ids import IdHashes
from mrsearch.unique_ids import refuse_repeated

FORMAT = 1
FILE = "store.json"
BLOCK = 4096
"""Passages read at once by a pass over the corpus."""
BUFFERED_RECORDS = 65_536
"""Offsets kept in memory between two writes."""


def build_store(rows: Iterable[tuple[str, str, str]], out: Path) -> int:
    """Write the (id, title, text) rows as a store at `out`, whole or not at all; returns the number of passages.

    Memory does not grow with the corpus. A title or id with a line break, an id given twice, an empty corpus or text
    that is not valid unicode is a ValueError that names the passage.
    """
    digest, count, end = hashlib.sha256(), 0, 0
    with atomic_folder(out) as draft, IdHashes(draft / "ids.i64") as ids:
        with (draft / "passages.bin").open("wb") as records, (draft / "offsets.u64").open("wb") as offsets:
            pending = [0]
            for row in rows:
                record = _record(row, count)
                ids.add(row[0])
                records.write(record)
                digest.update(len(record).to_bytes(8, "little"))
                digest.update(record)
                count, end = count + 1, end + len(record)
                pending.append(end)
                if len(pending) == BUFFERED_RECORDS:
                    offsets.write(np.array(pending, "<u8").tobytes())
                    pending.clear()
            offsets.write(np.array(pending, "<u8").tobytes())
        if not count:
            raise ValueError(f"{out}: the corpus has no passage")
        meta = {"format": FORMAT, "passages": count, "bytes": end, "sha256": digest.hexdigest()}
        (draft / FILE).write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
        _refuse_repeated(draft, ids.repeated(), out)
    return count


def _refuse_repeated(draft: Path, hashes: frozenset[int], out: Path) -> None:
    if not hashes:
        return
    passages = enumerate(PassageStore(draft))
    refuse_repeated(((n, passage.id) for n, passage in passages if hash(passage.id) in hashes), str(out), "passage")


def _record(row: tuple[str, str, str], position: int) -> bytes:
    identifier, title, _ = row
    if "\n" in identifier or "\n" in title:
        raise ValueError(f"passage {position} (id {identifier!r}): id and title must not hold a line break")
    try:
        return "\n".join(row).encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"passage {position} (id {identifier!r}): not valid unicode: {error}") from error


class PassageStore:
    """A corpus on disk, indexed by position 0..N-1. Opening takes milliseconds and no memory; pages come in on use."""

    def __init__(self, path: Path) -> None:
        """ValueError if the store is incomplete or of another format."""
        self.path = Path(path)
        try:
            meta = json.loads((self.path / FILE).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ValueError(f"{path}: not a passage store (no store.json): build it with `mrsearch data`") from error
        if meta["format"] != FORMAT:
            raise ValueError(f"{path}: store format {meta['format']}, expected {FORMAT}: build the corpus again")
        self.sha256: str = meta["sha256"]
        self._count: int = meta["passages"]
        self._check_size("passages.bin", meta["bytes"])
        self._check_size("offsets.u64", 8 * (self._count + 1))
        with (self.path / "passages.bin").open("rb") as file:
            self._records = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._offsets = np.memmap(self.path / "offsets.u64", dtype="<u8", mode="r")

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, position: int) -> Passage:
        """The passage at `position` (0..N-1); IndexError outside, negative positions included."""
        if not 0 <= position < self._count:
            raise IndexError(f"passage {position} of {self.path}, which holds {self._count}")
        start, end = int(self._offsets[position]), int(self._offsets[position + 1])
        identifier, title, text = self._records[start:end].decode("utf-8").split("\n", 2)
        return Passage(identifier, title, text)

    def __iter__(self) -> Iterator[Passage]:
        for start in range(0, self._count, BLOCK):
            yield from self.read(start, min(start + BLOCK, self._count))

    def read(self, start: int, stop: int) -> list[Passage]:
        """Passages start..stop-1, for a pass over the corpus: their pages do not stay resident."""
        passages = [self[position] for position in range(start, stop)]
        first = int(self._offsets[start]) // mmap.PAGESIZE * mmap.PAGESIZE
        self._records.madvise(mmap.MADV_DONTNEED, first, int(self._offsets[stop]) - first)
        return passages

    def _check_size(self, name: str, expected: int) -> None:
        file = self.path / name
        size = file.stat().st_size if file.exists() else 0
        if size != expected:
            raise ValueError(f"{file}: {size} bytes, expected {expected}: the store is incomplete, build it again")


def corpus_texts(corpus: Path) -> Iterator[str]:
    """Title and text of every passage of the store `corpus`, which is opened with the first of them."""
    store = PassageStore(corpus)
    for position in range(len(store)):
        passage = store[position]
        yield f"{passage.title}\n{passage.text}"
