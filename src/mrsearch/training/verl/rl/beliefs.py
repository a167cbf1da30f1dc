"""What the trained policy believes before each turn, asked of verl's workers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mrsearch.agent.beliefs import GoldReply, information_gains
from mrsearch.training.verl.rl.batches import FetchedBatch

Probe = tuple[tuple[str, str], int, list[int], GoldReply]
"""Group and member, turn, the tokens that its policy saw, and the reply whose probability is asked for."""


def batch_gains(
    workers: Any, batch: Any, fetched: FetchedBatch, config: Any
) -> dict[tuple[str, str], list[float | None]]:
    """The information gain of each turn of each (group, member) of a `KVBatchMeta`, under the weights that the workers
    hold now."""
    import transfer_queue as tq

    columns = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=["prompts", "responses"])
    prompts, responses = ([row.tolist() for row in columns[name].unbind()] for name in ("prompts", "responses"))
    ranks, rollout = config.trainer.nnodes * config.trainer.n_gpus_per_node, config.actor_rollout_ref.rollout
    micro_batch_size = 1 if rollout.log_prob_use_dynamic_bsz else rollout.log_prob_micro_batch_size_per_gpu
    probes = probes_of(fetched, prompts, responses)
    beliefs = ask(workers, probes, float(rollout.temperature), ranks * micro_batch_size)
    return {
        (row.group, row.member): information_gains(beliefs[row.group, row.member], list(row.turn_episodes))
        for row in fetched.rows
        if not row.padding
    }


def probes_of(fetched: FetchedBatch, prompts: list[list[int]], responses: list[list[int]]) -> list[Probe]:
    """One probe for each turn that a row trains; padding has none."""
    probes = []
    for row, facts, prompt, response in zip(fetched.rows, fetched.facts, prompts, responses, strict=True):
        if row.padding:
            continue
        reply = GoldReply(**facts["gold"])
        probes += [((row.group, row.member), turn, prompt + response[:first], reply) for turn, first, _ in row.turns]
    return probes


def ask(
    workers: Any, probes: list[Probe], temperature: float, multiple: int
) -> dict[tuple[str, str], dict[int, float]]:
    """The belief of every probe, by name and turn.

    multiple: the workers want so many sequences, or a multiple of it: the last probe fills the rest.
    """
    from verl.workers.utils.padding import response_from_nested

    beliefs: dict[tuple[str, str], dict[int, float]] = {name: {} for name, *_ in probes}
    if not probes:
        return beliefs
    filled = probes + [probes[-1]] * (-len(probes) % multiple)
    data = _sequences(filled, temperature)
    output = workers.compute_log_prob(data)
    logprobs: Tensor = response_from_nested(output["log_probs"], data["response_mask"])
    for (name, turn, _, reply), values in zip(filled, logprobs.unbind(), strict=True):
        beliefs[name][turn] = reply.belief(values[reply.first : reply.end].tolist())
    return beliefs


def _sequences(probes: list[Probe], temperature: float) -> Any:
    """What was seen as prompts, and the reply up to its answer's end as responses, as the workers take them."""
    from tensordict import TensorDict
    from verl.utils import tensordict_utils as tu

    def nested(rows: list[list[int]]) -> Tensor:
        return torch.nested.as_nested_tensor([torch.tensor(row) for row in rows], layout=torch.jagged)

    seen = [context for _, _, context, _ in probes]
    replies = [reply.token_ids[: reply.end] for *_, reply in probes]
    sequences = [context + reply for context, reply in zip(seen, replies, strict=True)]
    masks = nested([[1] * len(reply) for reply in replies])
    columns = {
        "input_ids": nested(sequences),
        "position_ids": nested([list(range(len(sequence))) for sequence in sequences]),
        "prompts": nested(seen),
        "responses": nested(replies),
        "response_mask": masks,
        "loss_mask": masks,
    }
    data = TensorDict(columns, batch_size=len(probes))
    tu.assign_non_tensor(data, calculate_entropy=False, compute_loss=False, temperature=temperature)
    return data
