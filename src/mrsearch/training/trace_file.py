"""Traces in a parquet file: token ids and loss masks as they were sampled, nothing to encode again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, overload

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mrsearch.files import atomic_file
from mrsearch.training.supervised import Trace

SCHEMA = pa.schema([("token_ids", pa.list_(pa.int32())), ("loss_mask", pa.list_(pa.int8()))])
ROWS = 1024
"""Rows written at a time."""


class TraceFile(Sequence[Trace]):
    """The traces of a file, read one by one: a sequence of `len` traces, each two lists of its length."""

    def __init__(self, path: Path) -> None:
        table = pq.read_table(path)
        self._ids, self._mask = (table[name].combine_chunks() for name in SCHEMA.names)
        self.lengths: list[int] = pc.list_value_length(self._ids).to_pylist()
        """Tokens of each trace."""

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, index: int) -> Trace: ...
    @overload
    def __getitem__(self, index: slice) -> list[Trace]: ...
    def __getitem__(self, index: int | slice) -> Trace | list[Trace]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        return Trace(self._ids[index].as_py(), self._mask[index].as_py())


def write_traces(path: Path, traces: Iterable[Trace]) -> int:
    """Write the traces as they come, whole or not at all; returns how many there were."""
    count, waiting = 0, list[Trace]()
    with atomic_file(path) as part, pq.ParquetWriter(part, SCHEMA) as writer:
        for trace in traces:
            waiting.append(trace)
            count += 1
            if len(waiting) == ROWS:
                writer.write_table(_table(waiting))
                waiting.clear()
        writer.write_table(_table(waiting))
    return count


def _table(traces: Sequence[Trace]) -> Any:
    return pa.table(
        {"token_ids": [list(t.token_ids) for t in traces], "loss_mask": [list(t.loss_mask) for t in traces]},
        schema=SCHEMA,
    )
