"""What an episode is rewarded for in training."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from mrsearch.config.base import Measured, Model, NonNegativeFloat


class RewardTerms(Model):
    """Weights of what an episode's reward holds beside its base: reward = base + sum of weight x term. A penalty is a
    negative weight; 0 leaves a term out."""

    format: Measured = 0.0
    """1 where every turn is a complete block of reasoning and then one complete search or answer, with nothing around
    them, and the last turn answers."""
    format_when_wrong: Measured = 0.0
    """The same, where the base is 0 as well (ReSearch: 0.1)."""
    searches: Measured = 0.0
    """Searches of the episode."""
    invalid_actions: Measured = 0.0
    """Turns without a complete action."""
    repeated_queries: Measured = 0.0
    """Searches whose query, in normal form, an earlier search of the meta-episode had."""
    repeated_passages: Measured = 0.0
    """Per search, the share of its passages that earlier searches of the meta-episode had brought; the sum of them."""
    unsearched_answers: Measured = 0.0
    """1 where the episode answers without a search of its own."""
    no_answer: Measured = 0.0
    """1 where the episode gives no answer."""
    repeated_answers: Measured = 0.0
    """1 where the answer, in normal form, is that of the episode before."""
    retrieval_hit: Measured = 0.0
    """1 where a search of the episode brought a passage that holds a gold answer."""
    improvement: Measured = 0.0
    """The base less that of the episode before, 0 in the first (released scripts: 0)."""


class Reward(Model):
    """The reward of an episode. Tables and validations report scores, of which nothing here is a part."""

    base: Literal["em", "f1", "sub_em"] | None = None
    """Score of the episode's answer: exact match, word overlap, or whether it contains a gold answer; null takes
    `protocol.scoring`."""
    base_needs_format: bool = False
    """Count the base only where the term `format` is 1 (ReSearch)."""
    terms: RewardTerms = RewardTerms()
    """Weights of further terms."""
    each_episode: NonNegativeFloat = 1.0
    """Weight of base and terms in every episode (the released scripts' beta: 1)."""
    last_episode: NonNegativeFloat = 0.0
    """Weight of one more reward, that of the whole meta-episode, in its last episode: the last base less
    `last_episode_repetition` times the term `repeated_answers`, summed over episodes (the released scripts' alpha:
    0)."""
    last_episode_repetition: NonNegativeFloat = 0.0
    """What each repeated answer takes from the reward of the whole meta-episode."""

    @property
    def plain(self) -> bool:
        """Whether it is the score and nothing else."""
        return self.model_copy(update={"base": None}) == Reward()

    @model_validator(mode="after")
    def _rewards_something(self) -> Reward:
        if not self.each_episode and not self.last_episode:
            raise ValueError("each_episode and last_episode are both 0: nothing would be rewarded")
        if self.last_episode_repetition and not self.last_episode:
            raise ValueError(
                f"last_episode_repetition ({self.last_episode_repetition:g}) is a part of the last episode's reward: "
                "set last_episode above 0, or use terms.repeated_answers"
            )
        return self
