"""The scripted demonstrator: what it does after a miss, which decides how persistent a policy starts."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from mrsearch.agent.ports import Hit, Sampling
from mrsearch.config.data import WorldData
from mrsearch.data.world import World
from mrsearch.training.sft.demonstrator import Demonstrator


class Words:
    """A tokenizer that gives words for ids, so that a script can be read."""

    def encode(self, text: str, add_special_tokens: bool) -> list[str]:
        return text.split()


class Nothing:
    """A search engine that misses every time."""

    async def search(self, query: str, topk: int) -> list[Hit]:
        return []


@pytest.fixture(scope="module")
def world() -> World:
    return World(WorldData(seed=3, train_entities=40, test_entities=40, train_questions=20))


async def searches(world: World, row: dict[str, Any], seed: int, **styles: Any) -> int:
    """Searches of one scripted episode that misses every time, at most three."""
    demonstrator = Demonstrator(
        world, row["metadata"], Nothing(), Words(), topk=1, max_turns=4, rng=random.Random(seed), **styles
    )
    for count in range(4):
        turn = await demonstrator.generate([], Sampling(max_tokens=32), "demonstration")
        if "<answer>" in list(turn.token_ids):
            return count
    raise AssertionError("an episode of four turns ends with an answer")


def share(world: World, **styles: Any) -> float:
    """Share of 300 episodes that go on after their first miss; persistent ones go on to the end."""

    async def counted() -> list[int]:
        row = next(row for row in world.train_questions() if row["metadata"]["kind"] == "single_hop")
        return [await searches(world, row, seed, **styles) for seed in range(300)]

    counts = asyncio.run(counted())
    assert set(counts) <= ({1, 2, 3} if styles["persistence"] is None else {1, 3})
    return sum(count > 1 for count in counts) / len(counts)


@pytest.mark.parametrize("careful_rate", [0.0, 1.0])
@pytest.mark.parametrize("persistence", [0.0, 0.3, 1.0])
def test_persistence_is_the_share_of_episodes_that_go_on_after_a_miss(
    world: World, persistence: float, careful_rate: float
) -> None:
    assert share(world, careful_rate=careful_rate, persistence=persistence) == pytest.approx(persistence, abs=0.09)


def test_without_persistence_the_style_decides(world: World) -> None:
    assert share(world, careful_rate=1.0, persistence=None) == 1.0
    assert share(world, careful_rate=0.0, persistence=None) == pytest.approx(0.2, abs=0.07)
