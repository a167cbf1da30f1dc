"""Demonstrations as verl's supervised trainer reads them: tokens as they were sampled, in the order of our plan."""

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
from mrsearch.training.sft.demonstration_file import DemonstrationFile


class PlannedDemonstrations(Dataset[dict[str, Tensor]]):
    """Row n is the demonstration at position n of the plan, so that the batches are those of the local trainer."""

    def __init__(self, parquet_files: Sequence[str], config: Any, **_: Any) -> None:
        demonstrations, plan = parquet_files
        self._demonstrations = DemonstrationFile(Path(demonstrations))
        self._order: list[int] = pq.read_table(plan)["demonstration"].to_pylist()
        if (longest := max(self._demonstrations.lengths)) > config.max_length:
            raise ValueError(
                f"{demonstrations}: a demonstration has {longest} tokens, more than "
                f"data.max_length ({config.max_length})"
            )

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        return tensors(self._demonstrations, self._order[position])

    def shortest(self, count: int) -> list[dict[str, Tensor]]:
        """The shortest demonstrations."""
        order = sorted(range(len(self._demonstrations)), key=lambda index: (self._demonstrations.lengths[index], index))
        return [tensors(self._demonstrations, index) for index in order[:count]]


def tensors(demonstrations: DemonstrationFile, index: int) -> dict[str, Tensor]:
    """One demonstration's `input_ids`, `position_ids` and `loss_mask`, each [T]."""
    demonstration = demonstrations[index]
    ids = torch.tensor(demonstration.token_ids, dtype=torch.long)
    mask = torch.tensor(demonstration.loss_mask, dtype=torch.long)
    mask[0] = 0  # nothing stands before it that could predict it
    return {"input_ids": ids, "position_ids": torch.arange(len(ids)), "loss_mask": mask}


def write_plan(path: Path, batches: Sequence[Sequence[int]]) -> None:
    """Write the demonstrations of all steps, one after the other."""
    order = [index for batch in batches for index in batch]
    with atomic_file(path) as draft:
        pq.write_table(pa.table({"demonstration": pa.array(order, pa.int32())}), draft)
