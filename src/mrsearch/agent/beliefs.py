"""How probable the policy finds the golden answer before each of its turns: what is asked, not who computes it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mrsearch.agent.records import MetaEpisode
from mrsearch.agent.renderer import Renderer


@dataclass(frozen=True, slots=True)
class GoldReply:
    """A reply that gives the first golden answer and says nothing else."""

    token_ids: list[int]
    first: int
    """First token of the answer's text."""
    end: int
    """One past its last token."""

    @classmethod
    def of(cls, meta: MetaEpisode, renderer: Renderer) -> GoldReply:
        """The reply to the question of `meta`. A vocabulary may hold tag and answer in one token: then the whole reply
        is the answer's text."""
        gold, opening = meta.question.golden_answers[0], renderer.protocol.tags.answer.open
        token_ids = renderer.answer(gold)
        first = renderer.count_until(token_ids, len(opening))
        end = renderer.count_until(token_ids, len(opening) + 1 + len(gold))
        return cls(token_ids, first, end) if first < end else cls(token_ids, 0, len(token_ids))

    def belief(self, logprobs: Sequence[float]) -> float:
        """Geometric mean of the probabilities of the answer's tokens, whose log-probabilities are given."""
        assert len(logprobs) == self.end - self.first, f"{len(logprobs)} values for {self.end - self.first} tokens"
        return math.exp(sum(logprobs) / len(logprobs))


def turn_starts(turn_ids: Sequence[int]) -> dict[int, int]:
    """Where each trained turn of a sequence begins, by its number; the tokens before are what its policy saw."""
    starts: dict[int, int] = {}
    for position, turn in enumerate(turn_ids):
        if turn >= 0:
            starts.setdefault(turn, position)
    return starts


def information_gains(beliefs: Mapping[int, float], episodes: Sequence[int]) -> list[float | None]:
    """The gain of each turn: the belief before the next turn of its episode less that before the turn itself.

    beliefs: by turn. episodes: of each turn. None for the last turn of an episode, whose reward is the episode's, and
    where a belief is not known.
    """
    gains: list[float | None] = []
    for turn, episode in enumerate(episodes):
        follows = episodes[turn + 1 : turn + 2] == [episode]
        complete = follows and turn in beliefs and turn + 1 in beliefs
        gains.append(beliefs[turn + 1] - beliefs[turn] if complete else None)
    return gains
