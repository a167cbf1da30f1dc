"""What an episode is rewarded for in training."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import model_validator

from mrsearch.config.base import Measured, Model, Name, NonNegativeFloat, SparseModel
from mrsearch.config.installed import completed
from mrsearch.extensions import REWARD_BASES, REWARD_TERMS


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


class InstalledTerm(Model):
    """A term that an installed package adds."""

    weight: Measured = 1.0
    """Weight beside the base, as those of `terms`."""
    settings: dict[str, Any] = {}
    """Its settings, by the package's own model."""
    package: str | None = None
    """Name and version of the package; written down when a study is started."""


class Reward(SparseModel):
    """The reward of an episode. Tables and validations report scores, of which nothing here is a part."""

    idle_keys: ClassVar = ("base_settings", "base_package", "installed_terms")
    base: Literal["em", "f1", "sub_em"] | Name | None = None
    """Score of the episode's answer: exact match, word overlap, or whether it contains a gold answer; null takes
    `protocol.scoring`. Installed packages add others."""
    base_settings: dict[str, Any] = {}
    """Settings of an installed base, by its package's own model."""
    base_package: str | None = None
    """Name and version of the package of an installed base; written down when a study is started."""
    base_needs_format: bool = False
    """Count the base only where the term `format` is 1 (ReSearch)."""
    terms: RewardTerms = RewardTerms()
    """Weights of further terms."""
    installed_terms: dict[Name, InstalledTerm] = {}
    """Further terms that installed packages add, by name. Example: {brevity: {weight: -0.1}}."""
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

    @model_validator(mode="before")
    @classmethod
    def _names_are_there(cls, raw: Any) -> Any:
        raw = completed(raw, REWARD_BASES, "base", "base_settings", "base_package")
        terms = raw.get("installed_terms") if isinstance(raw, dict) else None
        if not isinstance(terms, dict):
            return raw
        return {**raw, "installed_terms": {name: _installed_term(str(name), term) for name, term in terms.items()}}

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


def _installed_term(name: str, raw: Any) -> Any:
    """The term with its package; ValueError for a name that no package adds."""
    if name in REWARD_TERMS.built_in:
        raise ValueError(f"installed_terms.{name} is a term of no package: give its weight as terms.{name}")
    values = raw.model_dump() if isinstance(raw, InstalledTerm) else raw
    if not isinstance(values, dict):
        return raw
    try:
        term = completed({**values, "term": name}, REWARD_TERMS, "term", "settings", "package")
    except ValueError as error:
        raise ValueError(f"installed_terms.{name}: {error}") from error
    return {key: value for key, value in term.items() if key != "term"}
