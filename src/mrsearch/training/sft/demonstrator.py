"""The scripted demonstrator of the synthetic world: a policy with a plan instead of weights.

It works through the question's subgoals, one search each, and writes down what it found or missed. Its style is
redrawn every episode: careful (goes on to the next wording after a miss, never guesses while turns are left, keeps a
verified answer, otherwise continues from the last solved subgoal) or hasty (guesses after a miss, repeats failed
queries, keeps whatever it answered). Reinforcement learning has to find out which style pays. Where `persistence` is
given, it alone decides in which episodes the demonstrator goes on after a miss, whatever their style.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mrsearch.agent.ports import Generation, Hit, Sampling, SearchEngine
from mrsearch.data.relations import AGES, BY_NAME
from mrsearch.data.world import World, keywords

HASTY_GUESS = 0.8
HASTY_KEEP = 0.75
HASTY_RESTART = 0.15
HASTY_REPEAT = 0.5
HASTY_OCCUPATION = 0.5


@dataclass(slots=True)
class _State:
    """What survives from episode to episode."""

    solved: list[str] = field(default_factory=list)
    """Values of the solved subgoals."""
    verified: bool = False
    """Whether the last answer rests on solved subgoals alone."""
    answer: str | None = None


class Demonstrator:
    """A Policy (agent port) that plays one scripted demonstration of one question."""

    def __init__(
        self,
        world: World,
        metadata: dict[str, Any],
        engine: SearchEngine | None,
        tokenizer: Any,
        *,
        topk: int,
        max_turns: int,
        careful_rate: float,
        rng: random.Random,
        persistence: float | None = None,
    ) -> None:
        self.world, self.engine, self.tokenizer, self.topk, self.max_turns = world, engine, tokenizer, topk, max_turns
        self.careful_rate, self.persistence, self.rng = careful_rate, persistence, rng
        self.subjects: list[str] = metadata["subjects"]
        self.relations: list[str] = metadata["relations"]
        self.occupation: str | None = metadata["occupation"]
        self.comparing = metadata["kind"] == "comparison"
        self.progress = _State()
        self.tried: dict[tuple[str, str], str] = {}
        self.turn = 0
        self.note = ""
        self.missed = False
        self.seen: str | None = None
        self._draw_style()
        self.pending: tuple[str, str, list[Hit], str] | None = None

    async def generate(self, context: Sequence[int], sampling: Sampling, request_id: str) -> Generation:
        """The next scripted turn; the context is not read, as the script knows what it did."""
        return Generation.unsampled(self.tokenizer.encode(await self._act(), add_special_tokens=False), sampling)

    async def _act(self) -> str:
        opening = self._open_episode() if self.turn == 0 and self.progress.answer is not None else None
        if opening:
            return self._answer(opening, keep=True)
        self._read_observation()
        solved = self._solution()
        if solved is not None:
            self.progress.verified = True
            return self._answer(solved, thought="done")
        if self.turn == self.max_turns - 1 or (self.missed and self._gives_up()):
            self.progress.verified = False
            return self._answer(self._guess(), thought="guess")
        return await self._search()

    def _open_episode(self) -> str | None:
        """After a reflection prompt: the answer to keep, or None to work on (perhaps from the start)."""
        draw = self.rng.random()
        if self.progress.verified if self.careful else draw < HASTY_KEEP:
            return self.progress.answer
        if self.progress.verified or (not self.careful and draw < HASTY_KEEP + HASTY_RESTART):
            self.progress = _State(answer=self.progress.answer)
        return None

    def _subgoal(self) -> tuple[str, str]:
        """Subject and relation to look up next."""
        hop = len(self.progress.solved)
        if self.comparing:
            return self.subjects[hop], self.relations[0]
        return self.progress.solved[-1] if hop else self.subjects[0], self.relations[hop]

    def _solution(self) -> str | None:
        solved = self.progress.solved
        if len(solved) < len(self.subjects if self.comparing else self.relations):
            return None
        if self.comparing:
            return max(zip(solved, self.subjects, strict=True), key=lambda pair: AGES.index(pair[0]))[1]
        return solved[-1]

    def _guess(self) -> str:
        if self.comparing:
            return self.rng.choice(self.subjects)
        return self.seen or self.rng.choice(self.world.values[BY_NAME[self.relations[-1]].target])

    async def _search(self) -> str:
        assert self.engine is not None, "a one-shot script does not search"
        subject, relation = self._subgoal()
        keyword = self._keyword(subject, relation)
        if (subject, relation) in self.tried:
            self.note = f"{self.note} next {keyword} .".strip()
        self.tried[subject, relation] = keyword
        occupation = ""
        if self.occupation and not self.progress.solved and (self.careful or self.rng.random() < HASTY_OCCUPATION):
            occupation = f"{self.occupation} "
        query = f"{subject} {occupation}{keyword}"
        thought = f"{self.note} find {relation} of {subject}".strip()
        self.pending = (subject, relation, await self.engine.search(query, self.topk), keyword)
        self.note = ""
        self.turn += 1
        return f"<think> {thought} </think> <search> {query} </search>"

    def _keyword(self, subject: str, relation: str) -> str:
        choices, last = keywords(relation), self.tried.get((subject, relation))
        if last and self.careful:
            return choices[(choices.index(last) + 1) % len(choices)]
        return last if last and self.rng.random() < HASTY_REPEAT else self.rng.choice(choices)

    def _read_observation(self) -> None:
        """Note whether the last search found the subgoal's fact."""
        if self.pending is None:
            return
        subject, relation, hits, keyword = self.pending
        self.pending = None
        value = self._value(subject, relation, hits)
        self.seen = hits[0].passage.text.split()[-2] if hits else None
        self.missed = value is None
        if value is None:
            self.note = f"no {relation} with {keyword} ."
        else:
            against = f" against {self.progress.solved[0]}" if self.comparing and self.progress.solved else ""
            self.note = f"{relation} is {value}{against} ."
            self.progress.solved.append(value)

    def _value(self, subject: str, relation: str, hits: list[Hit]) -> str | None:
        """The relation's value for the subject where a passage states it, else None."""
        needs_occupation = None if self.progress.solved else self.occupation
        for hit in hits:
            name, occupation = hit.passage.title.split()
            if name != subject or (needs_occupation and occupation != needs_occupation):
                continue
            for sentence in BY_NAME[relation].sentences:
                before, after = sentence.format(s=name, o="\n").split("\n")
                if hit.passage.text.startswith(before) and hit.passage.text.endswith(after):
                    value = hit.passage.text[len(before) : len(hit.passage.text) - len(after)]
                    if " " not in value:
                        return value
        return None

    def _answer(self, answer: str, *, thought: str = "", keep: bool = False) -> str:
        text = f"keep {answer}" if keep else f"{self.note} {thought}".strip()
        self.progress.answer = answer
        self._end_episode()
        return f"<think> {text} </think> <answer> {answer} </answer>"

    def _end_episode(self) -> None:
        self.turn, self.note, self.missed = 0, "", False
        self._draw_style()

    def _draw_style(self) -> None:
        """Of the next episode. Without `persistence` nothing is drawn for it, so that older demonstrations stay."""
        self.careful = self.rng.random() < self.careful_rate
        self.persistent = None if self.persistence is None else self.rng.random() < self.persistence

    def _gives_up(self) -> bool:
        """Whether a miss ends the episode with a guess."""
        if self.persistent is not None:
            return not self.persistent
        return not self.careful and self.rng.random() < HASTY_GUESS


class OneShotDemonstrator:
    """A Policy that answers `direct` (a guess) and `rag` (copied where the passage states it) questions at once."""

    def __init__(
        self, world: World, metadata: dict[str, Any], hits: list[Hit], tokenizer: Any, rng: random.Random
    ) -> None:
        self.inner = Demonstrator(
            world, metadata, engine=None, tokenizer=tokenizer, topk=0, max_turns=1, careful_rate=0.0, rng=rng
        )
        self.hits, self.tokenizer = hits, tokenizer

    async def generate(self, context: Sequence[int], sampling: Sampling, request_id: str) -> Generation:
        """One `<answer>` block."""
        inner = self.inner
        subject, relation = inner._subgoal()
        inner.pending = (subject, relation, self.hits, "")
        inner._read_observation()
        answer = inner._solution() or inner._guess()
        ids = self.tokenizer.encode(f"<answer> {answer} </answer>", add_special_tokens=False)
        return Generation.unsampled(ids, sampling)
