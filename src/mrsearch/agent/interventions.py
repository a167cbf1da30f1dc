"""Searches under an intervention: engines over the study's own, one for each meta-episode.

What they give is what the agent reads, and what its record holds as found.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mrsearch.agent.agent import Agent
from mrsearch.agent.ports import Hit, SearchEngine
from mrsearch.agent.records import Question
from mrsearch.config.interventions import BlankedPassages, DelayedPassages, SwappedPassages
from mrsearch.draws import seeded_draws


def intervened(agent: Agent, question: Question) -> Agent:
    """The agent with the searches that its spec's intervention leaves it for one meta-episode about the question; the
    same agent where it leaves them as they are. ValueError where passages are swapped and no other question is there.
    """
    engine, intervention = agent.engine, agent.spec.intervention
    if engine is None:
        return agent
    if isinstance(intervention, BlankedPassages):
        return replace(agent, engine=BlankingEngine())
    if isinstance(intervention, DelayedPassages):
        return replace(agent, engine=DelayingEngine(engine))
    if isinstance(intervention, SwappedPassages):
        return replace(
            agent,
            engine=SwappingEngine(engine, question, agent.swappable.get(question.benchmark, ()), intervention.seed),
        )
    return agent


def swappable_texts(questions: Iterable[Question]) -> dict[str, tuple[str, ...]]:
    """The texts of questions by benchmark, sorted, each once: what `Agent.swappable` takes."""
    texts: dict[str, set[str]] = {}
    for question in questions:
        texts.setdefault(question.benchmark, set()).add(question.question.strip())
    return {benchmark: tuple(sorted(of_benchmark)) for benchmark, of_benchmark in texts.items()}


class BlankingEngine:
    """Finds nothing, and asks nobody."""

    async def search(self, query: str, topk: int) -> list[Hit]:
        return []


class DelayingEngine:
    """Gives the passages of a search to the next one."""

    def __init__(self, engine: SearchEngine) -> None:
        self._engine = engine
        self._waiting: list[Hit] = []

    async def search(self, query: str, topk: int) -> list[Hit]:
        hits = await self._engine.search(query, topk)
        delayed, self._waiting = self._waiting, hits
        return delayed


class SwappingEngine:
    """Searches with the words of another question of the same benchmark, drawn by seed, question and query."""

    def __init__(self, engine: SearchEngine, question: Question, texts: Sequence[str], seed: int) -> None:
        """texts: the benchmark's questions, each once, in an order that is always the same."""
        self._text = question.question.strip()
        if set(texts) <= {self._text}:
            raise ValueError(
                f"question {question.id!r}: swapped passages are those of other questions of its benchmark, and there "
                "are none: evaluate a benchmark of several, or choose another method"
            )
        self._engine, self._texts = engine, texts
        self._key = "swapped passages", seed, question.benchmark, question.id

    async def search(self, query: str, topk: int) -> list[Hit]:
        drawn = seeded_draws(*self._key, query).randrange(len(self._texts))
        if self._texts[drawn] == self._text:
            drawn = (drawn + 1) % len(self._texts)
        return await self._engine.search(self._texts[drawn], topk)
