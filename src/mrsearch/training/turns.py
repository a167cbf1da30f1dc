"""Advantages of single turns, whoever trains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mrsearch.config.training import Train
from mrsearch.learning.turns import turn_advantages, turn_credit


@dataclass(frozen=True, slots=True)
class MemberTurns:
    """The turns of one meta-episode."""

    episodes: Sequence[int]
    """Episode of each."""
    unmasked: Sequence[int]
    """1 for each that is trained on when abnormal turns are masked."""
    gains: Sequence[float | None] = ()
    """Information gain of each; None where there is none. Empty without credit of turns."""


def group_turn_advantages(members: Sequence[MemberTurns], advantages_GN: Tensor, train: Train) -> list[Tensor]:
    """The advantage of each turn [T] of every member of one group, from the advantages of its episodes."""
    credits: list[Tensor | None] = [None] * len(members)
    if train.turn_credit is not None:
        weight, gamma = train.turn_credit.weight, train.turn_credit.gamma
        credits = [weight * credit for credit in _group_credit(members, advantages_GN.shape[-1], gamma)]
    return [
        turn_advantages(
            advantages_GN[g],
            torch.tensor(member.episodes, dtype=torch.long),
            credit,
            torch.tensor(member.unmasked) if train.mask_abnormal_turns else None,
        )
        for g, (member, credit) in enumerate(zip(members, credits, strict=True))
    ]


def turn_summary(members: Sequence[MemberTurns], train: Train) -> dict[str, float]:
    """The log's columns about turns: the mean information gain of those that have one, and the share of turns that is
    masked; those that are in use."""
    columns = {}
    if train.turn_credit is not None:
        gains = [gain for member in members for gain in member.gains if gain is not None]
        columns["information_gain"] = sum(gains) / max(1, len(gains))
    if train.mask_abnormal_turns:
        flags = [flag for member in members for flag in member.unmasked]
        columns["masked_turns"] = 1 - sum(flags) / max(1, len(flags))
    return columns


def _group_credit(members: Sequence[MemberTurns], episodes: int, gamma: float) -> list[Tensor]:
    longest = max((count for member in members for count in Counter(member.episodes).values()), default=1)
    gains_GNT = torch.zeros(len(members), episodes, longest)
    exists_GNT = torch.zeros(len(members), episodes, longest, dtype=torch.bool)
    positions = [_positions(member.episodes) for member in members]
    for g, member in enumerate(members):
        for (n, t), gain in zip(positions[g], member.gains, strict=True):
            if gain is not None:
                gains_GNT[g, n, t], exists_GNT[g, n, t] = gain, True
    credit_GNT = turn_credit(gains_GNT, exists_GNT, gamma)
    return [
        torch.stack([credit_GNT[g, n, t] for n, t in indices]) if indices else torch.zeros(0)
        for g, indices in enumerate(positions)
    ]


def _positions(episodes: Sequence[int]) -> list[tuple[int, int]]:
    """Episode and place in it of each turn."""
    counts: Counter[int] = Counter()
    positions = []
    for episode in episodes:
        positions.append((episode, counts[episode]))
        counts[episode] += 1
    return positions
