"""What a study can name: this package's own, and what installed packages add through entry points.

A package adds a name by an entry point of one of the groups below. It refers to an object, or to a class that is made
without arguments; what it must offer is the group's protocol class in `import mrsearch`. Built-in names have entries of
the same form, and come through the same door. Nothing is imported before a study names it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

PREFIX = "mrsearch."
"""What the groups' names begin with."""


@dataclass(frozen=True)
class Vocabulary:
    """The names of one kind of thing."""

    name: str
    """Its group without the prefix."""
    noun: str
    """What a name stands for, in messages."""
    built_in: Mapping[str, str]
    """This package's own, each with its module and attribute."""
    without_object: tuple[str, ...] = ()
    """Further names of this package's own, which stand for nothing that could be loaded."""

    @property
    def group(self) -> str:
        """The group of entry points."""
        return PREFIX + self.name

    @property
    def own_names(self) -> tuple[str, ...]:
        """The names that need no other package."""
        return (*self.built_in, *self.without_object)

    def installed(self) -> dict[str, EntryPoint]:
        """Entry points of installed packages by name. ValueError where two packages give the same name."""
        points: dict[str, EntryPoint] = {}
        for point in _points(self.group, tuple(sys.path)):
            first = points.setdefault(point.name, point)
            if _package(first) != _package(point):
                raise ValueError(
                    f"{self.noun} {point.name!r} is added by {_package(first)} and by {_package(point)}: uninstall one"
                )
        return points

    def package(self, name: str) -> str | None:
        """Name and version of the package that adds it; None for this package's own. ValueError for an unknown name,
        which lists those that are known and installed."""
        if name in self.own_names:
            return None
        points = self.installed()
        if name not in points:
            added = ", ".join(f"{added_name} ({_package(point)})" for added_name, point in sorted(points.items()))
            raise ValueError(
                f"{name!r} is no {self.noun}: known are {', '.join(self.own_names)}; installed packages add "
                f"{added or 'none'}"
            )
        return _package(points[name])

    def load(self, name: str) -> Any:
        """The object of a name, made where it is a class. ValueError for an unknown name, and for what cannot be
        imported."""
        if name in self.without_object:
            raise ValueError(f"{self.noun} {name!r} has no object of the group {self.group}")
        return _loaded(self, name, self.package(name))


@cache
def _points(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """path: where packages are looked for."""
    return tuple(entry_points(group=group))


@cache
def _object(point: EntryPoint) -> Any:
    """One object for each entry point, since classes are told apart by identity."""
    loaded = point.load()
    return loaded() if isinstance(loaded, type) else loaded


def _loaded(vocabulary: Vocabulary, name: str, package: str | None) -> Any:
    if package is None:
        return _object(EntryPoint(name, vocabulary.built_in[name], vocabulary.group))
    point = vocabulary.installed()[name]
    try:
        return _object(point)
    except Exception as error:
        where = f"{vocabulary.noun} {name!r} of {package} ({point.value})"
        raise ValueError(f"{where} cannot be used: {error!r}") from error


def _package(point: EntryPoint) -> str:
    distribution = point.dist
    return f"{distribution.name} {distribution.version}" if distribution is not None else "a package without a name"


RETRIEVERS = Vocabulary(
    "retrievers",
    "kind of retriever",
    {
        "dense": "mrsearch.retrieval.indexes.kinds:Dense",
        "lexical": "mrsearch.retrieval.indexes.kinds:Lexical",
        "hybrid": "mrsearch.retrieval.indexes.kinds:Hybrid",
        "reranked": "mrsearch.retrieval.indexes.kinds:Reranked",
        "remote": "mrsearch.retrieval.indexes.kinds:Remote",
        "random": "mrsearch.retrieval.indexes.kinds:Random",
        "empty": "mrsearch.retrieval.indexes.kinds:Empty",
        "noisy": "mrsearch.retrieval.indexes.kinds:Noisy",
        "withheld": "mrsearch.retrieval.indexes.kinds:Withheld",
    },
)
PROCEDURES = Vocabulary(
    "procedures",
    "procedure",
    {
        "direct": "mrsearch.agent.procedures:answer_once",
        "cot": "mrsearch.agent.procedures:answer_once",
        "rag": "mrsearch.agent.procedures:answer_once",
        "ircot": "mrsearch.agent.ircot:ircot",
        "search_o1": "mrsearch.agent.search_o1:search_o1",
        "meta_episode": "mrsearch.agent.meta_episode:meta_episode",
    },
)
ESTIMATORS = Vocabulary(
    "estimators",
    "algorithm",
    {
        "mr_search": "mrsearch.learning.advantages:mr_search",
        "mt_grpo": "mrsearch.learning.advantages:mt_grpo",
        "grpo": "mrsearch.learning.advantages:grpo",
        "rloo": "mrsearch.learning.advantages:rloo",
        "reinforce_plus_plus": "mrsearch.learning.advantages:reinforce_plus_plus",
        "reinforce": "mrsearch.learning.advantages:reinforce",
        "raft": "mrsearch.learning.advantages:raft",
    },
    without_object=("ppo", "sft"),  # one has a critic, the other imitates
)
PROMPT_SETS = Vocabulary(
    "prompt_sets",
    "preset",
    {
        "own": "mrsearch.config.presets:OWN_FORMAT",
        "search_r1": "mrsearch.config.presets:SEARCH_R1",
        "mr_search": "mrsearch.config.presets:MR_SEARCH",
        "r1_searcher": "mrsearch.config.presets:R1_SEARCHER",
    },
)
REWARD_BASES = Vocabulary(
    "reward_bases",
    "base of a reward",
    {
        "em": "mrsearch.agent.rewards:exact_match",
        "f1": "mrsearch.agent.rewards:word_overlap",
        "sub_em": "mrsearch.agent.rewards:contained_answer",
    },
)
REWARD_TERMS = Vocabulary(
    "reward_terms",
    "term of a reward",
    {
        "format": "mrsearch.agent.rewards:well_formed",
        "format_when_wrong": "mrsearch.agent.rewards:well_formed_when_wrong",
        "searches": "mrsearch.agent.rewards:search_counts",
        "invalid_actions": "mrsearch.agent.rewards:invalid_actions",
        "repeated_queries": "mrsearch.agent.rewards:repeated_queries",
        "repeated_passages": "mrsearch.agent.rewards:repeated_passages",
        "unsearched_answers": "mrsearch.agent.rewards:unsearched_answers",
        "no_answer": "mrsearch.agent.rewards:no_answer",
        "repeated_answers": "mrsearch.agent.rewards:repeated_answers",
        "retrieval_hit": "mrsearch.agent.rewards:retrieval_hit",
        "improvement": "mrsearch.agent.rewards:improvement",
    },
)
