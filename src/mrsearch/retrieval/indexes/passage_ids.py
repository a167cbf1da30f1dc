"""Finding repeated ids among more passages than memory should hold."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Self

import numpy as np

BUFFERED = 65_536
"""Hashes kept in memory between two writes."""


class IdHashes:
    """A file with a hash of every id, eight bytes each, which is gone with the block."""

    def __init__(self, path: Path) -> None:
        self._path, self._file, self._pending, self._count = path, path.open("w+b"), array("q"), 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._path.unlink()

    def add(self, identifier: str) -> None:
        """Note one id."""
        self._pending.append(hash(identifier))
        self._count += 1
        if len(self._pending) == BUFFERED:
            self._write()

    def repeated(self) -> frozenset[int]:
        """The hashes that stand more than once; different ids rarely share one, so they are to be compared."""
        self._write()
        self._file.flush()
        if self._count < 2:
            return frozenset()
        hashes = np.memmap(self._path, dtype=np.int64, mode="r+", shape=(self._count,))
        hashes.sort()
        return frozenset(hashes[1:][hashes[1:] == hashes[:-1]].tolist())

    def _write(self) -> None:
        self._pending.tofile(self._file)
        del self._pending[:]
