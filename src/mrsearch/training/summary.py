"""What the training log says of a step's meta-episodes, whoever trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from mrsearch.agent.records import StopReason
from mrsearch.agent.rewards import SCORE
from mrsearch.agent.tally import MetaEpisodeCounts
from mrsearch.training.group_choice import varied_groups


def step_summary(
    counts: Sequence[MetaEpisodeCounts],
    rewards_QGN: Tensor,
    exists_QGN: Tensor,
    missing: int = 0,
    search_retries: int = 0,
) -> dict[str, Any]:
    """The log's columns about meta-episodes: means per meta-episode unless named otherwise.

    counts: of every meta-episode of the step, those without an episode too; an episode that did not take place has
    reward 0. missing: how many failed and left nothing. search_retries: tries again of the retriever's clients.
    """
    count = max(1, len(counts))
    turns = sum(row.turns for row in counts)
    generated = sum(row.generated_tokens for row in counts)
    return {
        "reward": (rewards_QGN.flatten(0, 1).sum(0) / count).tolist(),
        "exists": (exists_QGN.flatten(0, 1).float().sum(0) / count).tolist(),
        "zero_variance_groups": zero_variance_groups(rewards_QGN, exists_QGN),
        "searches": sum(row.searches for row in counts) / count,
        "turns": turns / count,
        "invalid_actions": sum(row.invalid_actions for row in counts) / max(1, turns),
        "search_failures": sum(row.search_failures for row in counts),
        "search_retries": search_retries,
        "truncated": sum(row.stop == StopReason.context_limit for row in counts) / count,
        "missing": missing,
        "generated_tokens": generated / count,
        "length": sum(row.tokens for row in counts) / count,
        "nll": -sum(row.logprob for row in counts) / max(1, generated),
    }


def term_means(terms: Sequence[Mapping[str, Sequence[float]]], episodes: int, count: int) -> dict[str, list[float]]:
    """The log's columns about the terms of a reward, by episode: means over `count` meta-episodes, in which an episode
    that did not take place counts as 0.

    terms: of every meta-episode, by name with a value per episode, without weights. Columns are `score`, and
    `reward_<term>` for the others; none where the reward is the score alone.
    """
    names = dict.fromkeys(name for values in terms for name in values)
    means = {}
    for name in names:
        sums = [sum(values[name][n] for values in terms if len(values.get(name, ())) > n) for n in range(episodes)]
        means[name if name == SCORE else f"reward_{name}"] = [total / max(1, count) for total in sums]
    return means


def zero_variance_groups(rewards_QGN: Tensor, exists_QGN: Tensor) -> float:
    """Share of groups in which no episode's reward differs between the members that have it: they teach nothing."""
    if not rewards_QGN.numel():
        return 1.0
    return float((~varied_groups(rewards_QGN, exists_QGN)).float().mean())
