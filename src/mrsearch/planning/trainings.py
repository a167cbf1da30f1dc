"""Which memory a training needs: of the trainer in one process, or of verl's."""

from __future__ import annotations

from dataclasses import dataclass

from mrsearch.config import Study
from mrsearch.planning import local, memory
from mrsearch.planning.shapes import Shape


@dataclass(frozen=True, slots=True)
class TrainingMemory:
    """Bytes that each GPU of a training holds, by item."""

    update: dict[str, float]
    """In an update."""
    generation: dict[str, float] | None = None
    """While the trainer itself generates; None where a server does, or nobody."""

    @property
    def peak(self) -> float:
        """Bytes at worst, without a server's."""
        return max(sum(items.values()) for items in (self.update, self.generation or {}))


def training_memory_of(study: Study, shape: Shape, stage: str, gpus: int) -> TrainingMemory:
    """What a training of this stage holds, for a study as the trained method has it, on so many GPUs."""
    if stage == "sft":
        if study.sft.backend == "local":
            return TrainingMemory(local.fine_tuning_memory(study, shape))
        return TrainingMemory(memory.fine_tuning_memory(study, shape, gpus))
    if study.training.backend == "local":
        return TrainingMemory(local.update_memory(study, shape), local.generation_memory(study, shape))
    return TrainingMemory(memory.training_memory(study, shape))
