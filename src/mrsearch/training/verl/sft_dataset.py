"""Traces as verl's supervised trainer reads them: tokens as they were sampled, in the order of our plan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mrsearch.files import atomic_file
from mrsearch.training.trace_file import TraceFile


class PlannedTraces(Dataset[dict[str, Tensor]]):
    """Row n is the trace that the plan has at position n, so that the batches are those of the local trainer."""

    def __init__(self, parquet_files: Sequence[str], config: Any, **_: Any) -> None:
        traces, plan = parquet_files
        self._traces = TraceFile(Path(traces))
        self._order: list[int] = pq.read_table(plan)["trace"].to_pylist()
        if (longest := max(self._traces.lengths)) > config.max_length:
            raise ValueError(f"{traces}: a trace has {longest} tokens, more than data.max_length ({config.max_length})")

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        return tensors(self._traces, self._order[position])

    def shortest(self, count: int) -> list[dict[str, Tensor]]:
        """The shortest traces."""
        order = sorted(range(len(self._traces)), key=lambda index: (self._traces.lengths[index], index))
        return [tensors(self._traces, index) for index in order[:count]]


def tensors(traces: TraceFile, index: int) -> dict[str, Tensor]:
    """One trace's `input_ids`, `position_ids` and `loss_mask`, each [T]."""
    trace = traces[index]
    ids = torch.tensor(trace.token_ids, dtype=torch.long)
    mask = torch.tensor(trace.loss_mask, dtype=torch.long)
    mask[0] = 0  # nothing stands before it that could predict it
    return {"input_ids": ids, "position_ids": torch.arange(len(ids)), "loss_mask": mask}


def write_plan(path: Path, batches: Sequence[Sequence[int]]) -> None:
    """Write the traces of all steps, one after the other."""
    order = [index for batch in batches for index in batch]
    with atomic_file(path) as part:
        pq.write_table(pa.table({"trace": pa.array(order, pa.int32())}), part)
