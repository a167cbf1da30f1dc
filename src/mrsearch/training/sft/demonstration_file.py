"""Demonstrations in a parquet file: token ids and loss masks as they were sampled, nothing to encode again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mrsearch.files import atomic_file

SCHEMA = pa.schema([("token_ids", pa.list_(pa.int32())), ("loss_mask", pa.list_(pa.int8()))])
ROWS = 1024
"""Rows written at a time."""


class Demonstration(NamedTuple):
    """Tokens to imitate, and which of them (1) the policy generates."""

    token_ids: Sequence[int]
    loss_mask: Sequence[int]


class DemonstrationFile(Sequence[Demonstration]):
    """The demonstrations of a file, read one by one: `len` of them, each two lists of its length."""

    def __init__(self, path: Path) -> None:
        table = pq.read_table(path)
        self._ids, self._mask = (table[name].combine_chunks() for name in SCHEMA.names)
        self.lengths: list[int] = pc.list_value_length(self._ids).to_pylist()
        """Tokens of each demonstration."""

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, index: int) -> Demonstration: ...
    @overload
    def __getitem__(self, index: slice) -> list[Demonstration]: ...
    def __getitem__(self, index: int | slice) -> Demonstration | list[Demonstration]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        return Demonstration(self._ids[index].as_py(), self._mask[index].as_py())


def write_demonstrations(path: Path, demonstrations: Iterable[Demonstration]) -> int:
    """Write the demonstrations as they come, whole or not at all; returns how many there were."""
    count, waiting = 0, list[Demonstration]()
    with atomic_file(path) as draft, pq.ParquetWriter(draft, SCHEMA) as writer:
        for demonstration in demonstrations:
            waiting.append(demonstration)
            count += 1
            if len(waiting) == ROWS:
                writer.write_table(_table(waiting))
                waiting.clear()
        writer.write_table(_table(waiting))
    return count


def _table(demonstrations: Sequence[Demonstration]) -> Any:
    return pa.table(
        {
            "token_ids": [list(t.token_ids) for t in demonstrations],
            "loss_mask": [list(t.loss_mask) for t in demonstrations],
        },
        schema=SCHEMA,
    )
