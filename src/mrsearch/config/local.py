"""What the local trainer needs beside the settings that both trainers share."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from mrsearch.config.base import Model, NonNegativeInt, PositiveInt


class LocalUpdates(Model):
    """How a trainer in one process computes its updates, on a CPU or on one GPU."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of forward and backward passes, and of the generation between them. Weights, gradients and moments
    are float32 either way (autocast)."""
    gradient_checkpointing: bool = False
    """Compute the activations of each block again in the backward pass."""
    max_token_len_per_gpu: PositiveInt | None = None
    """Pack as many sequences into one forward and backward pass as fit into so many tokens, padding included, at least
    those of the longest sequence; null takes `micro_batch_size` of them (a warm start: all)."""
    logits_chunk: PositiveInt | None = None
    """Positions whose logits are formed at a time, and again in the backward pass, so that the vocabulary is never
    laid out over a whole pass; null forms all of a pass at once."""


class LocalTraining(LocalUpdates):
    """Settings of `training.backend: local`."""

    concurrency: PositiveInt | None = None
    """Meta-episodes of a step that run at the same time, whose keys and values lie in memory together; null runs all of
    them."""
    validation_questions: NonNegativeInt = 0
    """Training questions held out and validated on, the same at every validation; 0 validates nothing."""
    validate_every: PositiveInt = 50
    """Steps between two validations; the last step is validated too."""
    export: Literal["last", "best"] = "last"
    """Which weights become the trained model: the last, or those of the best validation."""

    @model_validator(mode="after")
    def _has_a_best(self) -> LocalTraining:
        if self.export == "best" and not self.validation_questions:
            raise ValueError("export: best needs validation_questions above 0")
        return self
