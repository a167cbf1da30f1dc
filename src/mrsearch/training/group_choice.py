"""Which groups of a step are trained on where more were generated than it trains on."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def varied_groups(rewards_QGN: Tensor, exists_QGN: Tensor) -> Tensor:
    """Whether some episode's reward differs between the members of a group that have it, bool [Q]."""
    highest_QN = rewards_QGN.masked_fill(~exists_QGN, -float("inf")).amax(1)
    lowest_QN = rewards_QGN.masked_fill(~exists_QGN, float("inf")).amin(1)
    return (highest_QN > lowest_QN).any(-1)


def chosen_groups(varied: Sequence[bool], count: int) -> list[int]:
    """Positions, in order, of the `count` groups to train on: the first that vary, and where they are fewer the first
    of the others."""
    by_use = sorted(range(len(varied)), key=lambda position: not varied[position])
    return sorted(by_use[:count])
