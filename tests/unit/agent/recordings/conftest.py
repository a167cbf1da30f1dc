"""Recordings in this project's own words, made by the agent itself under each preset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from mrsearch.agent.ports import Hit, Passage
from mrsearch.agent.recordings.budgets import COUNT
from mrsearch.agent.recordings.file import Recorded
from mrsearch.agent.records import MetaEpisode, Question
from mrsearch.config.protocol import Protocol

WORDS = {
    "search": "Reason in <think> and </think>, then search or answer.\nQuestion: {question}\n",
    "reflection": "Doubt that answer and look again.",
    "invalid_action": "\nThat was no action, so try again.\n",
}
SHORT = [Passage("1", '"Gadurin prize"', 'Gadurin won ""Bla"" twice.'), Passage("2", "Köln", "A city.\nBy a river.")]
EPISODES = 3
BUDGETS = {"max_turn_tokens": 120, "max_observation_tokens": 150, "max_context_tokens": 800, "max_turns": 2}


@dataclass(frozen=True, slots=True)
class Recordings:
    """What the agent made under one protocol."""

    protocol: Protocol
    records: list[Recorded]
    count: COUNT


@dataclass(frozen=True, slots=True)
class ShelfEngine:
    """Finds what a query names: short passages, long ones, or nothing."""

    long: str

    async def search(self, query: str, topk: int) -> list[Hit]:
        shelves = {"short": SHORT, "long": [Passage(str(n), "City", self.long) for n in range(2)], "nothing": []}
        return [Hit(passage, 1.0) for passage in shelves[query]]


def protocol_of(preset: str) -> Protocol:
    """A preset with wording of these tests, and with small budgets, so that recordings are short."""
    words = {**WORDS, "invalid_action": ""} if preset == "r1_searcher" else WORDS
    return Protocol(preset=preset, prompts=words, **BUDGETS)


def scripts_of(protocol: Protocol, filler: Callable[[int], str]) -> list[list[str]]:
    """What a policy says in each recording, so that together they show every key that text can show; `filler` makes a
    text of so many tokens."""
    tags, turns, budget = protocol.tags, protocol.max_turns, protocol.max_turn_tokens
    short, long, nothing = (
        f"<think>so</think>{tags.search.open} {query} {tags.search.close}" for query in ("short", "long", "nothing")
    )
    first, second, third = (f"{tags.answer.open} {text} {tags.answer.close}" for text in ("Bla", "Köln", "Ålesund"))
    empty = f"{tags.search.open} {tags.search.close}"
    return [
        [short, first, nothing, second, *[short] * (turns + 1)],
        [*[short] * (turns + 1), first, second],
        [*[short] * turns, first, second, third],
        [empty, *[short] * (turns + 1), first, second],
        [f"<think>{filler(budget * 4 // 5)}</think>{long}"] * EPISODES * (turns + 1),
        [long] * EPISODES * (turns + 1),
        [filler(budget * 2)] * 2 + [first, second, third],
        ["<think>so</think><|im_end|>", first, empty, second, third],
    ]


def recorded(stage: Any, lines: list[str], engine: ShelfEngine, name: str) -> Recorded:
    """One meta-episode as a recorded output."""
    stage.engine = engine
    tags = stage.protocol.tags.answer
    policy = stage.policy([*lines, *[f"{tags.open} Bla {tags.close}"] * 40])
    meta: MetaEpisode = stage.play(policy, episodes=EPISODES)
    decode, answers = stage.renderer.decode, [episode.answer for episode in meta.episodes]
    given = [answer for answer in answers if answer is not None]
    counted = {"first": answers[0], "last": answers[-1], "last_valid": given[-1] if given else None}
    prompt, response = decode(meta.token_ids[: meta.prompt_length]), decode(meta.token_ids[meta.prompt_length :])
    return Recorded(name, prompt, response, meta.question.question, counted[stage.protocol.answer], True)


@pytest.fixture(scope="session")
def made(stages: dict[str, Any]) -> Callable[[str], Recordings]:
    """The recordings of a preset, by name."""

    @cache
    def make(preset: str) -> Recordings:
        shared, protocol = stages["bpe"], protocol_of(preset)
        stage = type(shared)("bpe", shared.tokenizer, protocol, Question("q", "who won the prize", ("Bla",)))

        @cache
        def count(text: str) -> int:
            return len(stage.encode(text))

        def filler(tokens: int) -> str:
            return "a city " * (tokens // count("a city a city") * 2)

        engine = ShelfEngine(filler(protocol.max_observation_tokens * 3 // 2))
        scripts = scripts_of(protocol, filler)
        records = [recorded(stage, lines, engine, f"script {n}") for n, lines in enumerate(scripts)]
        return Recordings(protocol, records, count)

    return make
