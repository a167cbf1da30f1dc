"""Low-rank adapters: training a few numbers beside weights that stay as they are (LoRA, arXiv 2106.09685)."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from mrsearch.config.base import Model, PositiveInt

MODULE = re.compile(r"\w+(\.\w+)*")
SHARED = ("lm_head", "embed_tokens")
"""Layers that have no adapter: where they are one matrix, an adapter on either would change both."""


class Lora(Model):
    """LoRA of a policy: its weights are frozen, and adapters beside its linear layers are trained."""

    rank: PositiveInt = 32
    """Numbers that an adapter passes a token's vector through."""
    alpha: PositiveInt = 32
    """Scale: what an adapter adds counts `alpha / rank` times."""
    target_modules: Literal["all-linear"] | tuple[str, ...] = Field("all-linear", min_length=1)
    """all-linear: every linear layer but the output layer; or names of layers (`[q_proj, v_proj]`), the same in all
    blocks."""

    @field_validator("target_modules")
    @classmethod
    def _are_names(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for name in () if isinstance(value, str) else value:
            if not MODULE.fullmatch(name):
                raise ValueError(f"{name[:200]!r} is no name of a layer, as q_proj is")
            if name.rpartition(".")[2] in SHARED:
                raise ValueError(f"{name} can have no adapter: name layers of the blocks, as q_proj")
        return value
