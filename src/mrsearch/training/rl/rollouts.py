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
from mrsearch.agent.rewards import EpisodeRewards, episode_rewards
from mrsearch.agent.spec import AgentSpec
from mrsearch.config.protocol import Protocol
from mrsearch.config.reward import Reward
from mrsearch.config.training import PolicyTraining
from mrsearch.training.group_choice import chosen_groups, varied_groups


@dataclass(frozen=True, slots=True)
class TrainedSequence:
    """One training sequence of length T with the advantage of each of its tokens."""

    token_ids: list[int]
    loss_mask: list[int]
    logprobs: list[float]
    advantages: list[float]
    meta_episode: int
    """Number of the meta-episode within the step; question = meta_episode // group size."""


@dataclass(frozen=True, slots=True)
class StepGroups:
    """The groups of a step, one after the other, and what their meta-episodes are rewarded with."""

    metas: list[MetaEpisode]
    rewards: list[EpisodeRewards]
    rewards_QGN: Tensor
    exists_QGN: Tensor
    """Whether each episode took place, bool [Q, G, N]."""

    def of(self, positions: Sequence[int]) -> StepGroups:
        """The groups at these positions alone."""
        size = self.rewards_QGN.shape[1]
        members = [position * size + g for position in positions for g in range(size)]
        index_Q = torch.tensor(positions, dtype=torch.long)
        return StepGroups(
            [self.metas[m] for m in members],
            [self.rewards[m] for m in members],
            self.rewards_QGN[index_Q],
            self.exists_QGN[index_Q],
        )

    def trained(self, count: int) -> StepGroups:
        """The `count` groups to train on."""
        varied = varied_groups(self.rewards_QGN, self.exists_QGN).tolist()
        return self if len(varied) == count else self.of(chosen_groups(varied, count))


def draw_questions(
    questions: Sequence[Question], count: int, seed: int, step: int, drawn: Sequence[Question] = ()
) -> list[Question]:
    """The step's questions, or as many more beside those that it drew already, without repetition; they depend on seed
    and step alone. ValueError where there are not enough."""
    if count > len(questions):
        raise ValueError(
            f"training.train_batch_size ({count}) is larger than the training set ({len(questions)} questions)"
        )
    generator = random.Random(f"{seed}/{step}/questions" + (f"/{len(drawn)}" if drawn else ""))
    drawn_ids = {question.id for question in drawn}
    return generator.sample([question for question in questions if question.id not in drawn_ids], count)


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
    first: int = 0,
) -> list[MetaEpisode]:
    """G meta-episodes of each question, group after group; `first` is the first question's number in the step."""
    agent = Agent(policy, engine, spec, renderer)
    jobs = []
    for q, question in enumerate(questions, first):
        for g in range(config.group_size):
            request = Request(f"{step:06d}/{q:05d}/{g:03d}", seed, config.temperature, config.top_p)
            jobs.append((request.id, functools.partial(run_procedure, question, agent, request)))
    return asyncio.run(run_batch(jobs, policy, config.local.concurrency or len(jobs)))


def step_groups(
    pool: Sequence[Question],
    policy: Policy,
    engine: SearchEngine | None,
    spec: AgentSpec,
    renderer: Renderer,
    config: PolicyTraining,
    reward: Reward,
    *,
    seed: int,
    step: int,
) -> StepGroups:
    """All groups that a step generates: a batch, and where groups are filtered further ones until enough of them vary,
    or until there are no more batches or questions."""
    size, filtered = config.train_batch_size, config.filter_groups
    most = 1 if filtered is None else filtered.max_num_gen_batches
    questions: list[Question] = []
    metas: list[MetaEpisode] = []
    rewards: list[EpisodeRewards] = []
    while True:
        batch = draw_questions(pool, size, seed, step, questions)
        metas += roll_out(batch, policy, engine, spec, renderer, config, seed=seed, step=step, first=len(questions))
        questions += batch
        rewards += [episode_rewards(meta, reward, spec.protocol) for meta in metas[len(rewards) :]]
        tensors = reward_tensors([rewarded.values for rewarded in rewards], config.group_size, spec.episodes)
        enough = int(varied_groups(*tensors).sum()) >= size
        if enough or len(questions) >= most * size or len(pool) < len(questions) + size:
            return StepGroups(metas, rewards, *tensors)


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
