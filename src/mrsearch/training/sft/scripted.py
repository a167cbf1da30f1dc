"""Scripted demonstrations: the demonstrator's meta-episodes, through the same rollout as everything else."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mrsearch.agent.agent import Agent, Request
from mrsearch.agent.batch import NoPolicy, run_batch
from mrsearch.agent.meta_episode import training_sequences
from mrsearch.agent.ports import Hit, Policy, SearchEngine
from mrsearch.agent.procedures import run_procedure
from mrsearch.agent.records import MetaEpisode, Question
from mrsearch.agent.renderer import Renderer
from mrsearch.agent.spec import AgentSpec
from mrsearch.config import Study
from mrsearch.data.world import World
from mrsearch.training.sft.demonstration_file import Demonstration
from mrsearch.training.sft.demonstrator import Demonstrator, OneShotDemonstrator

CONCURRENCY = 256


async def scripted_demonstrations(
    study: Study, tokenizer: Any, engine: SearchEngine, count: int, seed: int
) -> list[Demonstration]:
    """The training sequences of `count` scripted meta-episodes over training questions, by seed."""
    assert study.data.kind == "world", "only the synthetic world has scripts; the configuration forbids others"
    world = World(study.data)
    rows = world.train_questions()
    renderer = Renderer(tokenizer, study.protocol)
    maker = _Maker(study, world, rows, engine, renderer)
    jobs = [(f"demonstration-{number}", _bind(maker, seed, number)) for number in range(count)]
    metas = await run_batch(jobs, NoPolicy(), CONCURRENCY)
    sequences = (sequence for meta in metas for sequence in training_sequences(meta, study.protocol))
    return [Demonstration(sequence.token_ids, sequence.loss_mask) for sequence in sequences]


def relabelled(
    classes: Sequence[Tensor], vocabulary: int, token_ids: Sequence[int], generator: torch.Generator
) -> list[int]:
    """The tokens with every class (names, cities, ...) permuted by a fresh bijection, so that only copying pays."""
    mapping = torch.arange(vocabulary)
    for members in classes:
        mapping[members] = members[torch.randperm(len(members), generator=generator)]
    renamed: list[int] = mapping[torch.tensor(token_ids)].tolist()
    return renamed


def name_classes(tokenizer: Any, study: Study) -> list[Tensor]:
    """Token ids of the world's names and of each kind of value."""
    assert study.data.kind == "world"
    world = World(study.data)
    return [torch.tensor(tokenizer.convert_tokens_to_ids(words)) for words in (world.names, *world.values.values())]


class _Maker:
    def __init__(
        self, study: Study, world: World, rows: list[dict[str, Any]], engine: SearchEngine, renderer: Renderer
    ) -> None:
        self.study, self.world, self.rows, self.engine, self.renderer = study, world, rows, engine, renderer

    async def make(self, seed: int, number: int) -> MetaEpisode:
        rng = random.Random(f"{seed}/{number}")
        row = rng.choice(self.rows)
        question = Question(row["id"], row["question"], tuple(row["golden_answers"]))
        draw = rng.random() / self.study.warm_start.one_shot_rate if self.study.warm_start.one_shot_rate else 1.0
        procedure = "direct" if draw < 0.5 else "rag" if draw < 1.0 else "meta_episode"
        many = procedure == "meta_episode"
        spec = AgentSpec(
            self.study.protocol,
            procedure,
            self.study.warm_start.episodes if many else 1,
            self.study.protocol.max_turns,
            self.study.retrieval.topk,
            self.study.warm_start.context,
        )
        policy = self._meta(row, rng) if many else await self._one_shot(row, procedure, rng)
        agent = Agent(policy, self.engine, spec, self.renderer)
        return await run_procedure(question, agent, Request(f"demonstration-{number}"))

    def _meta(self, row: dict[str, Any], rng: random.Random) -> Policy:
        return Demonstrator(
            self.world,
            row["metadata"],
            self.engine,
            self.renderer.tokenizer,
            topk=self.study.retrieval.topk,
            max_turns=self.study.protocol.max_turns,
            careful_rate=self.study.warm_start.careful_rate,
            rng=rng,
            persistence=self.study.warm_start.persistence,
        )

    async def _one_shot(self, row: dict[str, Any], procedure: str, rng: random.Random) -> Policy:
        hits: list[Hit] = []
        if procedure == "rag":
            hits = await self.engine.search(row["question"].strip(), self.study.retrieval.topk)
        return OneShotDemonstrator(self.world, row["metadata"], hits, self.renderer.tokenizer, rng)


def _bind(maker: _Maker, seed: int, number: int) -> Any:
    return lambda: maker.make(seed, number)
