"""Methods: what a study compares."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt, model_validator

from mrsearch.config.base import Model, Name
from mrsearch.config.training import Train

Procedure = Literal["direct", "cot", "rag", "meta_episode"]


class Method(Model):
    """One row of the tables: an inference procedure, the policy that runs it and, for some, its training."""

    label: str | None = None
    """How tables and figures call it; null is the method's own name."""
    procedure: Procedure = "meta_episode"
    """direct, cot and rag answer in one generation; meta_episode searches."""
    policy: Name | None = None
    """Whose weights run it: `base` or a trained method; null is the method itself where it trains, else `base`."""
    episodes: PositiveInt = 1
    """Episodes of a meta-episode (the paper's N)."""
    turns: PositiveInt | None = None
    """Turn budget of an episode; null takes the protocol's."""
    context: Literal["full", "previous"] = "full"
    """Which earlier episodes stay in the context."""
    train: Train | None = None
    """How its policy is trained; null for methods that borrow one."""
    compare_with: Name | None = None
    """Method of the study that paired tests compare it with; null is the report's baseline."""

    @model_validator(mode="after")
    def _consistent(self) -> Method:
        if self.procedure != "meta_episode" and (self.episodes != 1 or self.turns is not None):
            raise ValueError(
                f"procedure {self.procedure!r} answers in one generation: remove episodes ({self.episodes}) and turns "
                f"({self.turns})"
            )
        if self.train and self.policy:
            raise ValueError(
                f"policy ({self.policy!r}) and train exclude each other: a trained method runs its own policy"
            )
        mask = self.train.episode_mask if self.train else None
        if mask is not None and len(mask) != self.episodes:
            raise ValueError(
                f"train.episode_mask has {len(mask)} entries but episodes is {self.episodes}: give one per episode"
            )
        if mask is not None and not any(mask):
            raise ValueError("train.episode_mask is 0 everywhere: nothing would be rewarded")
        return self
