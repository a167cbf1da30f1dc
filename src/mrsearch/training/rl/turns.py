"""Advantages of single turns in the local trainer, whose model says what it believes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mrsearch.agent.beliefs import GoldReply, information_gains, turn_starts
from mrsearch.agent.meta_episode import training_sequences
from mrsearch.agent.records import MetaEpisode
from mrsearch.agent.renderer import Renderer
from mrsearch.agent.turns import kept_turns, turn_episodes
from mrsearch.config.training import PolicyTraining, Train
from mrsearch.training.sequences import micro_batches, pad, score_tokens
from mrsearch.training.turns import MemberTurns, group_turn_advantages


def member_turns(
    metas: Sequence[MetaEpisode], model: Any, renderer: Renderer, train: Train, config: PolicyTraining
) -> list[MemberTurns]:
    """The turns of every meta-episode, with their information gains under `model` where they are credited."""
    episodes = [turn_episodes(meta) for meta in metas]
    gains: list[list[float | None]] = [[] for _ in metas]
    if train.turn_credit is not None:
        beliefs = beliefs_before_turns(metas, model, renderer, config)
        gains = [information_gains(*pair) for pair in zip(beliefs, episodes, strict=True)]
    return [
        MemberTurns(turns, kept_turns(meta), gained) for meta, turns, gained in zip(metas, episodes, gains, strict=True)
    ]


def advantages_of_turns(members: Sequence[MemberTurns], advantages_QGN: Tensor, train: Train) -> list[Tensor]:
    """The advantage of each turn [T] of every meta-episode, group after group."""
    size = advantages_QGN.shape[1]
    return [
        values
        for q, advantages_GN in enumerate(advantages_QGN)
        for values in group_turn_advantages(members[q * size : (q + 1) * size], advantages_GN, train)
    ]


def beliefs_before_turns(
    metas: Sequence[MetaEpisode], model: Any, renderer: Renderer, config: PolicyTraining
) -> list[dict[int, float]]:
    """For every meta-episode and each of its turns, the probability (geometric mean over tokens) that the model gives
    the first golden answer in the place of the turn."""
    probes = []
    for m, meta in enumerate(metas):
        reply = GoldReply.of(meta, renderer)
        for sequence in training_sequences(meta, renderer.protocol):
            for turn, start in turn_starts(sequence.turn_ids).items():
                probes.append((m, turn, sequence.token_ids[:start], reply))
    probes.sort(key=lambda probe: len(probe[2]))
    beliefs: list[dict[int, float]] = [{} for _ in metas]
    lengths = [len(seen) + reply.end for _, _, seen, reply in probes]
    tokens = config.local.max_token_len_per_gpu
    # A golden answer may end beyond the context that the policy had left.
    room = None if tokens is None else max(tokens, *lengths, 1)
    for numbers in micro_batches(lengths, config.micro_batch_size, room):
        batch = [probes[number] for number in numbers]
        token_ids = pad([seen + reply.token_ids[: reply.end] for _, _, seen, reply in batch], torch.long)
        scored = [[0] * (len(seen) + reply.first) + [1] * (reply.end - reply.first) for _, _, seen, reply in batch]
        with torch.no_grad():
            scored_BT = pad(scored, torch.bool)
            logprobs = score_tokens(model, token_ids, scored_BT, config.temperature, local=config.local).logprobs_K
        counts = [reply.end - reply.first for *_, reply in batch]
        for (m, turn, _, reply), values in zip(batch, logprobs.split(counts), strict=True):
            beliefs[m][turn] = reply.belief(values.tolist())
    return beliefs
