"""Vectors in one file that FAISS opens as an exact index, written row by row in any number of runs.

The file is what FAISS writes for an inner-product `IndexFlat` (float32) or fp16 `IndexScalarQuantizer` (float16): a
header, then the rows. Its size is known before the first row, so rows go straight to their place: nothing is held in
memory, nothing is copied at the end, and the disk space is claimed at the start.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from mrsearch.files import read_json, write_json

COUNT_AT = slice(8, 16)
"""Where the header keeps the number of rows (after a four-byte type and the dimension)."""
JOURNAL = "journal.json"
HASHED_BYTES = 1 << 22
"""Read at once."""


class VectorWriter:
    """Fills `path` with count x dim vectors; `done` rows are safe on disk.

    A journal beside the file remembers the plan and the rows done; a run with another plan starts from nothing.
    """

    def __init__(self, path: Path, count: int, dim: int, dtype: str, plan: dict[str, Any]) -> None:
        """OSError (no space left) says how much the file needs."""
        self._journal = path.with_name(JOURNAL)
        self._plan = {**plan, "count": count, "dim": dim, "dtype": dtype}
        head = header(count, dim, dtype)
        size = len(head) + count * dim * np.dtype(dtype).itemsize
        journal = read_json(self._journal)
        if journal and journal["plan"] == self._plan and path.exists() and path.stat().st_size == size:
            self.done: int = journal["done"]
        else:
            self.done = 0
            _claim(path, head, size)
            self.commit(0)
        self._dtype, self._offset, self._row_bytes = np.dtype(dtype), len(head), dim * np.dtype(dtype).itemsize
        self._file = path.open("r+b", buffering=0)  # not a memory map: its pages would stay resident
        self._count, self._hashed, self._digest, self._in_order = count, self.done, hashlib.sha256(head), True
        self._hash_done()

    def write(self, start: int, vectors: np.ndarray) -> None:
        """Put rows at start, start + 1, ...; they are safe after the next `commit`."""
        content = memoryview(np.ascontiguousarray(vectors, self._dtype).view(np.uint8).reshape(-1).data)
        self._in_order &= start == self._hashed
        self._digest.update(content)
        self._hashed += len(vectors)
        self._file.seek(self._offset + start * self._row_bytes)
        while content:
            content = content[self._file.write(content) :]

    def commit(self, done: int) -> None:
        """Everything before row `done` reaches the disk before the journal says so."""
        if done:
            os.fsync(self._file.fileno())
        write_json(self._journal, {"plan": self._plan, "done": done})
        self.done = done

    def sha256(self) -> str | None:
        """Of the whole file, without reading it; None where rows were not written once each and in order."""
        return self._digest.hexdigest() if self._in_order and self._hashed == self._count else None

    def _hash_done(self) -> None:
        """Read the rows of the run before this one."""
        self._file.seek(self._offset)
        end = self._offset + self.done * self._row_bytes
        while (size := min(HASHED_BYTES, end - self._file.tell())) and (content := self._file.read(size)):
            self._digest.update(content)


def drop_journal(path: Path) -> None:
    """Forget how far the file was: what is made from it is made."""
    path.with_name(JOURNAL).unlink(missing_ok=True)


def open_vectors(path: Path, count: int, dim: int, dtype: str) -> np.ndarray:
    """The rows of a whole file, memory-mapped [count, dim]; ValueError if the file does not hold exactly them."""
    head = header(count, dim, dtype)
    expected = len(head) + count * dim * np.dtype(dtype).itemsize
    size = path.stat().st_size
    with path.open("rb") as file:
        present = file.read(len(head))
    if size != expected or present != head:
        raise ValueError(f"{path}: {size} bytes do not hold {count} {dtype} vectors of {dim}: build the index again")
    return np.memmap(path, dtype=dtype, mode="r", offset=len(head), shape=(count, dim))


def header(count: int, dim: int, dtype: str) -> bytes:
    """What FAISS puts before the rows, learnt from an index of one row and set to `count` rows."""
    import faiss

    index: Any
    if dtype == "float32":
        index = faiss.IndexFlatIP(dim)
    else:
        assert dtype == "float16", dtype
        index = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index.add(np.zeros((1, dim), np.float32))
    row_bytes = dim * np.dtype(dtype).itemsize
    head = bytearray(faiss.serialize_index(index).tobytes()[:-row_bytes])
    entries = int.from_bytes(head[-8:], "little")
    assert entries in (dim, row_bytes), "FAISS writes the length of the rows in front of them"
    assert int.from_bytes(head[COUNT_AT], "little") == 1, "FAISS writes the number of rows at a fixed place"
    head[COUNT_AT] = count.to_bytes(8, "little")
    head[-8:] = (count * entries).to_bytes(8, "little")
    return bytes(head)


def _claim(path: Path, head: bytes, size: int) -> None:
    """Make the file with its full size, so that a full disk shows now and not after hours."""
    free = shutil.disk_usage(path.parent).free
    with path.open("wb") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            path.unlink()
            if error.errno == errno.ENOSPC:
                raise OSError(
                    errno.ENOSPC,
                    f"the vectors need {size / 1e6:.0f} MB, and {path.parent} has {free / 1e6:.0f} MB free",
                ) from error
            raise
        file.write(head)
