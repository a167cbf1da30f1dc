"""What episodes are rewarded for in training: the score of the answer, and the terms that a study weighs in.

Each term is a function of a meta-episode and its scores, with a value per episode that took place. Both trainers take
their rewards from `episode_rewards`; tables and validations report scores alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Protocol

from mrsearch.agent.records import ActionKind, Episode, MetaEpisode, Turn
from mrsearch.agent.scoring import episode_scores, hit_holds_answer, normalize
from mrsearch.agent.tally import searches
from mrsearch.agent.turns import repeated_searches, turn_episodes
from mrsearch.config.installed import settings_of
from mrsearch.config.protocol import Protocol as AgentProtocol
from mrsearch.config.reward import Reward
from mrsearch.config.wording import Tags
from mrsearch.extensions import REWARD_BASES, REWARD_TERMS, Vocabulary

SCORE, BASE = "score", "base"
"""Names among the terms: what `protocol.scoring` gives, and the reward's base where that is another."""


@dataclass(frozen=True, slots=True)
class ScoredMetaEpisode:
    """What every term looks at."""

    meta: MetaEpisode
    scores: list[float]
    """The base: of each episode's answer. Empty for a base itself."""
    tags: Tags
    settings: Any = None
    """Of an installed base or term, by its own model."""


class RewardMeasure(Protocol):
    """A base or a term of rewards, as entry points of the groups `mrsearch.reward_bases` and `mrsearch.reward_terms`
    name it: a function, or an object that can be called.

    An installed one may have a pydantic model `Settings`, whose values are `scored.settings`.
    """

    def __call__(self, scored: ScoredMetaEpisode) -> list[float]:
        """One finite number for each episode of `scored.meta` that took place."""
        ...


@dataclass(frozen=True, slots=True)
class EpisodeRewards:
    """The rewards of a meta-episode, one per episode that took place."""

    values: list[float]
    terms: dict[str, list[float]]
    """The score, the base where it is another one, and every term in use, without weights; empty where the reward is
    the score alone."""


def episode_rewards(meta: MetaEpisode, reward: Reward, protocol: AgentProtocol) -> EpisodeRewards:
    """The reward of each episode that took place:

    each_episode x (base + sum of weight x term), and in the last one last_episode x (its base -
    last_episode_repetition x repeated answers) more.
    """
    base = reward.base or protocol.scoring
    scores = _values(REWARD_BASES, base, ScoredMetaEpisode(meta, [], protocol.tags), reward.base_settings)
    scored = ScoredMetaEpisode(meta, scores, protocol.tags)
    weights = {name: weight for name, weight in reward.terms.model_dump().items() if weight}
    terms = {name: _values(REWARD_TERMS, name, scored, {}) for name in weights}
    for name, term in reward.installed_terms.items():
        weights[name] = term.weight
        terms[name] = _values(REWARD_TERMS, name, scored, term.settings)
    counted = scores
    if reward.base_needs_format:
        counted = [score * intact for score, intact in zip(scores, well_formed(scored), strict=True)]
    values = []
    for n, score in enumerate(counted):
        values.append(reward.each_episode * (score + sum(weight * terms[name][n] for name, weight in weights.items())))
    if reward.last_episode and values:
        repeated = sum(repeated_answers(scored))
        values[-1] += reward.last_episode * (counted[-1] - reward.last_episode_repetition * repeated)
    if base != protocol.scoring:
        return EpisodeRewards(values, {SCORE: episode_scores(meta, protocol.scoring), BASE: scores, **terms})
    return EpisodeRewards(values, {} if reward.plain else {SCORE: scores, **terms})


def well_formed(scored: ScoredMetaEpisode) -> list[float]:
    """1 where every turn is a complete block of reasoning and one complete action, and the last turn answers; a
    summary is left out."""
    pattern = _whole_turn(scored.tags)

    def complete(episode: Episode) -> bool:
        turns = [turn for turn in episode.turns if turn.action is not ActionKind.summary]
        return bool(turns) and turns[-1].action is ActionKind.answer and all(pattern.fullmatch(t.text) for t in turns)

    return [float(complete(episode)) for episode in scored.meta.episodes]


def well_formed_when_wrong(scored: ScoredMetaEpisode) -> list[float]:
    """`well_formed` where the score is 0, else 0."""
    return [intact * (score == 0) for intact, score in zip(well_formed(scored), scored.scores, strict=True)]


def search_counts(scored: ScoredMetaEpisode) -> list[float]:
    """Searches of each episode."""
    return [float(count) for count in searches(scored.meta)]


def invalid_actions(scored: ScoredMetaEpisode) -> list[float]:
    """Turns of each episode without a complete action."""
    return [float(sum(turn.action is ActionKind.invalid for turn in episode.turns)) for episode in scored.meta.episodes]


def repeated_queries(scored: ScoredMetaEpisode) -> list[float]:
    """Searches of each episode whose query an earlier search of the meta-episode had, in normal form."""
    counts = [0.0] * len(scored.meta.episodes)
    for episode, repeated in zip(turn_episodes(scored.meta), repeated_searches(scored.meta), strict=True):
        counts[episode] += repeated
    return counts


def repeated_passages(scored: ScoredMetaEpisode) -> list[float]:
    """For each episode, the sum over its searches of the share of passages that earlier searches had brought."""
    earlier: set[str] = set()
    sums = []
    for episode in scored.meta.episodes:
        total = 0.0
        for turn in _searches(episode):
            ids = [hit.passage.id for hit in turn.hits]
            total += sum(passage in earlier for passage in ids) / max(1, len(ids))
            earlier.update(ids)
        sums.append(total)
    return sums


def unsearched_answers(scored: ScoredMetaEpisode) -> list[float]:
    """1 for an episode that answers without a search of its own."""
    counts = searches(scored.meta)
    return [
        float(episode.answer is not None and not count)
        for episode, count in zip(scored.meta.episodes, counts, strict=True)
    ]


def no_answer(scored: ScoredMetaEpisode) -> list[float]:
    """1 for an episode without an answer."""
    return [float(episode.answer is None) for episode in scored.meta.episodes]


def repeated_answers(scored: ScoredMetaEpisode) -> list[float]:
    """1 for an episode whose answer is that of the episode before, in normal form."""
    answers = [None if e.answer is None else normalize(e.answer) or e.answer.lower() for e in scored.meta.episodes]
    before = [None, *answers[:-1]]
    return [float(now is not None and now == then) for now, then in zip(answers, before, strict=False)]


def retrieval_hit(scored: ScoredMetaEpisode) -> list[float]:
    """1 for an episode one of whose searches brought a passage that holds a gold answer; the search behind the first
    prompt belongs to the first episode."""
    golds = tuple(scored.meta.question.golden_answers)
    hits = [[hit for turn in episode.turns for hit in turn.hits] for episode in scored.meta.episodes]
    if hits:
        hits[0] += scored.meta.prompt_hits or []
    return [float(any(hit_holds_answer(hit, golds) for hit in brought)) for brought in hits]


def improvement(scored: ScoredMetaEpisode) -> list[float]:
    """Each score less that of the episode before; 0 for the first."""
    before = [*scored.scores[:1], *scored.scores[:-1]]
    return [now - then for now, then in zip(scored.scores, before, strict=True)]


def exact_match(scored: ScoredMetaEpisode) -> list[float]:
    """1 for an episode whose answer is a gold answer in normal form."""
    return episode_scores(scored.meta, "em")


def word_overlap(scored: ScoredMetaEpisode) -> list[float]:
    """F1 of the words of each episode's answer."""
    return episode_scores(scored.meta, "f1")


def contained_answer(scored: ScoredMetaEpisode) -> list[float]:
    """1 for an episode whose answer contains a gold answer."""
    return episode_scores(scored.meta, "sub_em")


def _values(vocabulary: Vocabulary, name: str, scored: ScoredMetaEpisode, settings: dict[str, Any]) -> list[float]:
    """What a base or a term gives each episode; ValueError where an installed one gives something else."""
    measure: RewardMeasure = vocabulary.load(name)
    package = vocabulary.package(name)
    if package is None:
        return measure(scored)
    values = measure(replace(scored, settings=settings_of(vocabulary, name, settings)))
    if len(values) != len(scored.meta.episodes) or not all(math.isfinite(value) for value in values):
        raise ValueError(
            f"{vocabulary.noun} {name!r} of {package} gave {values!r:.200}: one finite number is expected for each of "
            f"{len(scored.meta.episodes)} episodes"
        )
    return [float(value) for value in values]


def _searches(episode: Episode) -> Iterator[Turn]:
    return (turn for turn in episode.turns if turn.action is ActionKind.search)


@cache
def _whole_turn(tags: Tags) -> re.Pattern[str]:
    """A block of reasoning and one of an action, none of which holds a tag."""
    text = f"(?:(?!{'|'.join(map(re.escape, tags.texts))}).)*"
    think, search, answer = (
        f"{re.escape(pair.open)}{text}{re.escape(pair.close)}" for pair in (tags.think, tags.search, tags.answer)
    )
    return re.compile(rf"\s*{think}\s*(?:{search}|{answer})\s*", re.DOTALL)
