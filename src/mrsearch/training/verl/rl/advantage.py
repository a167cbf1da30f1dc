"""Advantages for verl: the estimators of `learning.advantages`, from a batch's rows to one value per token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mrsearch.config.training import Train
from mrsearch.extensions import ESTIMATORS
from mrsearch.learning.advantages import Estimator, advantages
from mrsearch.learning.losses import Aggregation
from mrsearch.training.estimators import estimator_of
from mrsearch.training.turns import MemberTurns, group_turn_advantages

PREFIX = "mrsearch_"
"""verl has estimators of the same names; ours carry this prefix in its registry."""


@dataclass(frozen=True, slots=True)
class BatchRow:
    """One row of a batch."""

    group: str
    """The question's id in this step; equal for the members of a group."""
    member: str
    """The meta-episode's id in its group; equal for all rows of one."""
    rewards: Sequence[float]
    spans: Sequence[Sequence[int]]
    weight: float = 1.0
    padding: bool = False
    """A row that verl added to fill the batch: no member of anything."""
    turns: Sequence[Sequence[int]] = ()
    turn_episodes: Sequence[int] = ()
    unmasked: Sequence[int] = ()


def group_tensors(
    rows: Sequence[BatchRow], episodes: int
) -> tuple[Tensor, Tensor, dict[tuple[str, str], tuple[int, int]]]:
    """Rewards and existence, both [Q, G, N] with G the largest group, and the place (q, g) of each (group, member).

    Members come in the order of their ids. A member that is missing exists in no episode.
    """
    groups: dict[str, dict[str, Sequence[float]]] = {}
    for row in rows:
        if not row.padding:
            groups.setdefault(row.group, {})[row.member] = row.rewards
    largest = max((len(members) for members in groups.values()), default=0)
    rewards_QGN = torch.zeros(len(groups), largest, episodes)
    exists_QGN = torch.zeros(len(groups), largest, episodes, dtype=torch.bool)
    positions = {}
    for q, (group, members) in enumerate(groups.items()):
        for g, member in enumerate(sorted(members)):
            values = members[member]
            assert len(values) <= episodes, f"{len(values)} rewards where a meta-episode has {episodes} episodes"
            rewards_QGN[q, g, : len(values)] = torch.tensor(list(values))
            exists_QGN[q, g, : len(values)] = True
            positions[group, member] = (q, g)
    return rewards_QGN, exists_QGN, positions


def token_advantages(
    rows: Sequence[BatchRow],
    response_mask_BT: Tensor,
    algorithm: str | Estimator,
    episodes: int,
    gamma: float = 1.0,
    episode_mask: Sequence[int] | None = None,
    train: Train | None = None,
    gains: Mapping[tuple[str, str], Sequence[float | None]] | None = None,
) -> Tensor:
    """Advantages [B, T]: that of its episode on every trained token, 0 elsewhere and on padding rows.

    train: where given, and where its turns can differ, each token has the advantage of its turn. gains: information
    gains of the turns of each (group, member), where they are credited.
    """
    assert len(rows) == len(response_mask_BT), f"{len(rows)} rows for {len(response_mask_BT)} masks"
    out_BT = torch.zeros(response_mask_BT.shape)
    rewards_QGN, exists_QGN, positions = group_tensors(rows, episodes)
    if not positions:
        return out_BT
    values_QGN = advantages(algorithm, rewards_QGN, exists_QGN, gamma=gamma, episode_mask=episode_mask)
    turns = _turn_values(rows, values_QGN, positions, train, gains or {}) if train and train.by_turn else None
    for b, row in enumerate(rows):
        if row.padding:
            continue
        name = row.group, row.member
        values = values_QGN[positions[name]] if turns is None else turns[name]
        for owner, first, end in row.spans if turns is None else row.turns:
            out_BT[b, first:end] = values[owner]
    return out_BT * response_mask_BT


def members_of(
    rows: Sequence[BatchRow], gains: Mapping[tuple[str, str], Sequence[float | None]]
) -> dict[tuple[str, str], MemberTurns]:
    """The turns of each (group, member), padding left out."""
    return {
        (row.group, row.member): MemberTurns(row.turn_episodes, row.unmasked, gains.get((row.group, row.member), ()))
        for row in rows
        if not row.padding
    }


def _turn_values(
    rows: Sequence[BatchRow],
    values_QGN: Tensor,
    positions: Mapping[tuple[str, str], tuple[int, int]],
    train: Train,
    gains: Mapping[tuple[str, str], Sequence[float | None]],
) -> dict[tuple[str, str], Tensor]:
    """The advantage of each turn of each (group, member)."""
    members = members_of(rows, gains)
    groups: dict[int, dict[int, tuple[str, str]]] = {}
    for name, (q, g) in positions.items():
        groups.setdefault(q, {})[g] = name
    values: dict[tuple[str, str], Tensor] = {}
    for q, names in groups.items():
        ordered = [names[g] for g in sorted(names)]
        present = [members[name] for name in ordered]
        turns = group_turn_advantages(present, values_QGN[q, : len(ordered)], train)
        values.update(zip(ordered, turns, strict=True))
    return values


def register(*installed: str) -> None:
    """Make every estimator known to verl, and those of these names, as `mrsearch_<name>` for `algorithm.adv_estimator`.

    verl hands an estimator one scalar reward per row. The episodes come from `trainer.EpisodeTrainer` as further
    arguments; ValueError where another trainer calls.
    """
    from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY, register_adv_est

    for name in dict.fromkeys((*ESTIMATORS.built_in, *installed)):
        if PREFIX + name not in ADV_ESTIMATOR_REGISTRY:
            register_adv_est(PREFIX + name)(_estimator(name))


def _estimator(name: str) -> Any:
    def estimate(
        token_level_rewards: Tensor,
        response_mask: Tensor,
        config: Any = None,
        rows: Sequence[BatchRow] | None = None,
        episodes: int = 1,
        episode_mask: Sequence[int] | None = None,
        train: Train | None = None,
        gains: Mapping[tuple[str, str], Sequence[float | None]] | None = None,
        **_: Any,
    ) -> tuple[Tensor, Tensor]:
        if rows is None:
            raise ValueError(
                f"algorithm.adv_estimator {PREFIX + name} needs each episode's reward: set trainer.v1.trainer_mode to "
                "mr_search"
            )
        estimator = name if train is None else estimator_of(train)
        values_BT = token_advantages(
            rows, response_mask, estimator, episodes, float(config.gamma), episode_mask, train, gains
        )
        return values_BT, values_BT.clone()

    return estimate


def row_scale(rows: Sequence[BatchRow], episodes: int, per_episode_rows: bool, aggregation: Aggregation) -> Tensor:
    """Factors [B] that make verl's mean over rows a mean over meta-episodes.

    verl divides by the mini-batch's rows: `seq-mean-token-mean` gives each row 1 / (its trained tokens x rows),
    `seq-mean-token-sum-norm` 1 / (a constant x rows). Where a meta-episode has one row per episode, a mini-batch holds
    `episodes` rows per meta-episode, so a row that trains the share w of its meta-episode's tokens needs the factor w x
    `episodes`, or `episodes` where tokens are summed. PPO's loss is linear in the size of the advantage, so the factor
    can go there.
    """
    if not per_episode_rows or aggregation == "token_mean":
        return torch.ones(len(rows))
    mean = aggregation == "meta_episode_mean"
    return torch.tensor([(row.weight if mean else 1.0) * episodes for row in rows])


def episode_end_rewards(
    rows: Sequence[BatchRow], response_mask_BT: Tensor, gamma: float = 1.0, episode_mask: Sequence[int] | None = None
) -> Tensor:
    """Rewards [B, T] for a critic: each episode's on the last token that the policy generated in it, 0 elsewhere.

    An episode without a trained token passes its reward on to nobody; padding rows get none.
    """
    assert gamma == 1.0, "verl discounts by token; between episodes the critic's rewards are not discounted"
    out_BT = torch.zeros(response_mask_BT.shape)
    for b, row in enumerate(rows):
        if row.padding:
            continue
        for episode, first, end in row.spans:
            trained = response_mask_BT[b, first:end].nonzero()
            if len(trained):
                weight = 1.0 if episode_mask is None else float(episode_mask[episode])
                out_BT[b, first + int(trained[-1])] = weight * row.rewards[episode]
    return out_BT
