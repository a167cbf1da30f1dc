"""Credit of single turns beside that of their episodes. Pure tensor functions."""

from __future__ import annotations

import torch
from torch import Tensor

from mrsearch.learning.advantages import Z_SCORE_EPSILON, discounted_suffix_sum


def turn_credit(gains_GNT: Tensor, exists_GNT: Tensor, gamma: float = 1.0) -> Tensor:
    """Credit [..., G, N, T] for the information gains of a group's turns (IGPO, arXiv 2510.14967):

    gains are standardised over all turns of the group that have one, and summed from each turn to the end of its
    episode with discount `gamma`. 0 where no gain exists, and everywhere in a group that has fewer than two.
    """
    present = exists_GNT.to(gains_GNT.dtype)
    group = (-3, -2, -1)
    count = present.sum(group, keepdim=True)
    deviation = (gains_GNT - (gains_GNT * present).sum(group, keepdim=True) / count.clamp(min=1)) * present
    std = ((deviation**2).sum(group, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
    scores = torch.where(count > 1, deviation / (std + Z_SCORE_EPSILON), torch.zeros_like(deviation))
    return discounted_suffix_sum(scores, gamma) * present


def turn_advantages(
    advantages_N: Tensor, episodes_T: Tensor, credit_T: Tensor | None = None, kept_T: Tensor | None = None
) -> Tensor:
    """The advantage [T] of each turn of one meta-episode: that of its episode and its own credit, 0 where it is not
    kept. episodes_T numbers the episode of each turn."""
    values_T = advantages_N[episodes_T]
    if credit_T is not None:
        values_T = values_T + credit_T
    return values_T if kept_T is None else values_T * kept_T
