"""A few of a step's meta-episodes as rows that a person reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mrsearch.agent.records import MetaEpisode
from mrsearch.agent.rewards import episode_rewards
from mrsearch.config.protocol import Protocol
from mrsearch.config.reward import Reward

SHOWN = 4
"""Meta-episodes per table."""
COLUMNS = ("step", "meta_episode", "question", "golden_answers", "episode", "transcript", "answer", "reward", "stop")


def sample_rows(step: int, metas: Sequence[MetaEpisode], reward: Reward, protocol: Protocol) -> list[list[Any]]:
    """One row per episode of the first meta-episodes, in the order of COLUMNS; observations stand in the transcript."""
    rows = []
    for number, meta in enumerate(metas[:SHOWN]):
        golds = " | ".join(meta.question.golden_answers)
        values = episode_rewards(meta, reward, protocol).values
        for index, (episode, value) in enumerate(zip(meta.episodes, values, strict=True), 1):
            text = "\n".join(text_ for turn in episode.turns for text_ in (turn.text, turn.observation) if text_)
            row = [step, number, meta.question.question, golds, index, text, episode.answer or "", value]
            rows.append([*row, episode.stop.value])
    return rows
