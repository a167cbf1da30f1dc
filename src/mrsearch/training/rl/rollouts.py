"""One training step's meta-episodes, and what training needs of them."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mrsearch.agent.agent import Agent, Request
from mrsearch.agent.batch import run_batch
from mrsearch.agent.meta_episode import training_sequences
from mrsearch.agent.ports import Policy, SearchEngine
from mrsearch.agent.procedures import run_procedure
from mrsearch.agent.records import MetaEpisode, Question
from mrsearch.agent.renderer import Renderer
from mrsearch.agent.spec import AgentSpec
from mrsearch.config.protocol import Protocol
from mrsearch.config.training import PolicyTraining


@dataclass(frozen=True, slots=True)
class TrainedSequence:
    """One training sequence of length T with the advantage of each of its tokens."""

    token_ids: list[int]
    loss_mask: list[int]
    logprobs: list[float]
    advantages: list[float]
    meta_episode: int
    """Number of the meta-episode within the step; question = meta_episode // group size."""


def draw_questions(questions: Sequence[Question], count: int, seed: int, step: int) -> list[Question]:
    """The step's questions, without repetition; they depend on seed and step alone."""
    if count > len(questions):
        raise ValueError(
            f"training.train_batch_size ({count}) is larger than the training set ({len(questions)} questions)"
        )
    return random.Random(f"{seed}/{step}/questions").sample(questions, count)


def roll_out(
    questions: Sequence[Question],
    policy: Policy,
    engine: SearchEngine | None,
    spec: AgentSpec,
    renderer: Renderer,
    config: PolicyTraining,
    *,
    seed: int,
    step: int,
) -> list[MetaEpisode]:
    """G meta-episodes of each question, group after group."""
    agent = Agent(policy, engine, spec, renderer)
    jobs = []
    for q, question in enumerate(questions):
        for g in range(config.group_size):
            request = Request(f"{step:06d}/{q:05d}/{g:03d}", seed, config.temperature, config.top_p)
            jobs.append((request.id, functools.partial(run_procedure, question, agent, request)))
    return asyncio.run(run_batch(jobs, policy, config.local.concurrency or len(jobs)))


def reward_tensors(rewards: Sequence[Sequence[float]], group_size: int, episodes: int) -> tuple[Tensor, Tensor]:
    """Rewards and existence of every episode, both [Q, G, N], from a list per meta-episode; an episode that did not
    take place has reward 0."""
    rewards_MN = torch.zeros(len(rewards), episodes)
    exists_MN = torch.zeros(len(rewards), episodes, dtype=torch.bool)
    for m, values in enumerate(rewards):
        rewards_MN[m, : len(values)] = torch.tensor(values)
        exists_MN[m, : len(values)] = True
    shape = (-1, group_size, episodes)
    return rewards_MN.view(shape), exists_MN.view(shape)


def training_rows(
    metas: Sequence[MetaEpisode], advantages_QGN: Tensor, protocol: Protocol, turns: Sequence[Tensor] | None = None
) -> list[TrainedSequence]:
    """Every training sequence with the advantage of its episode on each token that the policy generated.

    turns: for every meta-episode the advantage of each of its turns, which stands in the place of the episode's.
    """
    advantages_MN = advantages_QGN.flatten(0, 1)
    rows = []
    for m, meta in enumerate(metas):
        for sequence in training_sequences(meta, protocol):
            if not any(sequence.loss_mask):
                continue
            values = [*(advantages_MN[m] if turns is None else turns[m]).tolist(), 0.0]
            owners = sequence.episode_ids if turns is None else sequence.turn_ids
            per_token = [values[owner] * mask for owner, mask in zip(owners, sequence.loss_mask, strict=True)]
            rows.append(TrainedSequence(sequence.token_ids, sequence.loss_mask, sequence.logprobs, per_token, m))
    return rows
