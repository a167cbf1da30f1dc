"""Which groups of a step are trained on."""

from __future__ import annotations

from pydantic import Field

from mrsearch.config.base import MOST, Model


class FilterGroups(Model):
    """Dynamic sampling (DAPO, arXiv 2503.14476): further questions are asked in the place of those whose group teaches
    nothing, since no episode's reward differs between its members."""

    max_num_gen_batches: int = Field(4, ge=2, le=MOST)
    """Most batches of `train_batch_size` questions that a step generates. A step that still lacks groups is filled up
    with some that teach nothing."""
