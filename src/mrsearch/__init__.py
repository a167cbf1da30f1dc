"""MR-Search: meta-reinforcement learning with self-reflection for search agents.

What a notebook needs, each imported when it is first used:

>>> import mrsearch
>>> study = mrsearch.load_study("demo")
>>> table = study.scores()
>>> with study.open_agent("mr_search") as agent:
...     print(agent.answer("Who directed Jaws?"))

Packages that add names to studies by entry points find here what such names must offer: `RetrieverKind`,
`AgentProcedure`, `RewardMeasure`, `AdvantageEstimator` and `PromptSet`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mrsearch.agent.procedures import AgentProcedure
    from mrsearch.agent.record_files import read_records
    from mrsearch.agent.records import MetaEpisode, Question
    from mrsearch.agent.rewards import RewardMeasure, ScoredMetaEpisode
    from mrsearch.config.presets import PromptSet
    from mrsearch.interactive.evaluated import EvaluatedQuestions
    from mrsearch.interactive.loaded_study import LoadedStudy, load_study
    from mrsearch.interactive.open_agent import AgentAnswer, OpenAgent
    from mrsearch.retrieval.indexes.kinds import RetrieverInputs, RetrieverKind
    from mrsearch.retrieval.indexes.ranking import Ranking
    from mrsearch.training.estimators import AdvantageEstimator

__all__ = [
    "AdvantageEstimator",
    "AgentAnswer",
    "AgentProcedure",
    "EvaluatedQuestions",
    "LoadedStudy",
    "MetaEpisode",
    "OpenAgent",
    "PromptSet",
    "Question",
    "Ranking",
    "RetrieverInputs",
    "RetrieverKind",
    "RewardMeasure",
    "ScoredMetaEpisode",
    "load_study",
    "read_records",
]

_HOMES = {
    "AdvantageEstimator": "training.estimators",
    "AgentAnswer": "interactive.open_agent",
    "AgentProcedure": "agent.procedures",
    "EvaluatedQuestions": "interactive.evaluated",
    "LoadedStudy": "interactive.loaded_study",
    "MetaEpisode": "agent.records",
    "OpenAgent": "interactive.open_agent",
    "PromptSet": "config.presets",
    "Question": "agent.records",
    "Ranking": "retrieval.indexes.ranking",
    "RetrieverInputs": "retrieval.indexes.kinds",
    "RetrieverKind": "retrieval.indexes.kinds",
    "RewardMeasure": "agent.rewards",
    "ScoredMetaEpisode": "agent.rewards",
    "load_study": "interactive.loaded_study",
    "read_records": "agent.record_files",
}
"""The module of each name."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mrsearch' has no attribute {name!r}")
    return getattr(importlib.import_module(f"mrsearch.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
