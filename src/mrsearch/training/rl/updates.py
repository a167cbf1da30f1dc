"""The local trainer's updates: from a step's rows to new weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mrsearch.config.training import PolicyTraining
from mrsearch.learning.losses import actions_of, kl_penalty, llds, ppo_clip, token_weights
from mrsearch.policy.arithmetic import device_of
from mrsearch.training.passes import recomputed_blocks
from mrsearch.training.rl.rollouts import TrainedSequence
from mrsearch.training.sequences import micro_batches, pad, score_tokens


def update(
    model: Any,
    optimizer: torch.optim.Optimizer,
    rows: Sequence[TrainedSequence],
    config: PolicyTraining,
    *,
    step: int,
    seed: int,
    rate: float,
    reference: Any = None,
    llds_coef: float = 0.0,
) -> dict[str, float]:
    """One step's optimizer updates at a learning rate over its rows; returns clip fraction, KL, entropy, gradient norm
    and the rate, and with LLDS the share of trained tokens that it penalises.

    A mini-batch holds whole groups: those of mini_batch_size questions. FloatingPointError where the gradient
    is not finite.
    """
    for group in optimizer.param_groups:
        group["lr"] = rate
    totals = {"clipped": 0.0, "kl": 0.0, "entropy": 0.0, "trained": 0.0, "displaced": 0.0}
    norms = []
    for epoch in range(config.epochs):
        generator = torch.Generator().manual_seed((seed * 1_000_003 + step) * 101 + epoch)
        order = torch.randperm(config.train_batch_size, generator=generator).tolist()
        size = config.mini_batch_size
        for begin in range(0, config.train_batch_size, size):
            groups = set(order[begin : begin + size])
            minibatch = [row for row in rows if row.meta_episode // config.group_size in groups]
            norms.append(_minibatch(model, optimizer, minibatch, config, step, totals, reference, llds_coef))
    trained = max(1.0, totals["trained"])
    return {
        "clip_fraction": totals["clipped"] / trained,
        "kl": totals["kl"] / trained,
        "entropy": totals["entropy"] / trained,
        "gradient_norm": sum(norms) / len(norms),
        "learning_rate": rate,
        **({"displaced": totals["displaced"] / trained} if llds_coef else {}),
    }


def policy_loss(
    model: Any,
    rows: Sequence[TrainedSequence],
    weights: Sequence[Tensor],
    config: PolicyTraining,
    reference: Any = None,
    llds_coef: float = 0.0,
) -> tuple[Tensor, dict[str, float]]:
    """The loss of some rows, each with its token weights [T], and sums for the log: PPO's, and entropy bonus, KL
    term and LLDS where they have a weight."""
    device = device_of(model)
    tokens = pad([row.token_ids for row in rows], torch.long)
    trained_BT = pad([row.loss_mask for row in rows], torch.bool)
    old = pad([row.logprobs for row in rows], torch.float32)[trained_BT].to(device)
    advantages = pad([row.advantages for row in rows], torch.float32)[trained_BT].to(device)
    weights_K = pad([weight.tolist() for weight in weights], torch.float32)[trained_BT].to(device)
    by_sequence = config.importance_sampling_level == "sequence"
    train_entropy, local = config.entropy_coeff > 0, config.local
    scored = score_tokens(model, tokens, trained_BT, config.temperature, train_entropy=train_entropy, local=local)
    result = ppo_clip(
        scored.logprobs_K,
        old,
        advantages,
        weights_K,
        config.clip_range,
        clip_range_high=config.clip_range_high,
        dual_clip=config.dual_clip,
        sequence_K=trained_BT.nonzero()[:, 0].to(device) if by_sequence else None,
    )
    loss = result.loss
    if config.entropy_coeff:
        loss = loss - config.entropy_coeff * (scored.entropy_K * weights_K).sum()
    if reference is not None:
        with torch.no_grad():
            anchor = score_tokens(reference, tokens, trained_BT, config.temperature, local=local).logprobs_K
        loss = loss + config.kl_coef * kl_penalty(scored.logprobs_K, anchor, weights_K)
    displaced = 0.0
    if llds_coef:
        penalty_K = llds(scored.logprobs_K, old, actions_of(trained_BT).to(device))
        loss = loss + llds_coef * (penalty_K * weights_K).sum()
        displaced = float((penalty_K > 0).sum().item())
    sums = {
        "displaced": displaced,
        "clipped": result.clipped.item(),
        "kl": result.kl.item(),
        "entropy": scored.entropy_K.sum().item(),
        "trained": float(len(old)),
    }
    return loss, sums


def _minibatch(
    model: Any,
    optimizer: torch.optim.Optimizer,
    rows: list[TrainedSequence],
    config: PolicyTraining,
    step: int,
    totals: dict[str, float],
    reference: Any,
    llds_coef: float,
) -> float:
    """Accumulate the gradient over micro-batches and step the optimizer; returns the gradient norm.

    Rows whose advantages are all 0 have no gradient without KL term, entropy bonus and LLDS: they weigh in the mean but
    are not computed.
    """
    if not rows:
        return 0.0
    _, members = torch.unique(torch.tensor([row.meta_episode for row in rows]), return_inverse=True)
    mask_BT = pad([row.loss_mask for row in rows], torch.bool)
    weights_BT = token_weights(mask_BT, members, config.loss_aggregation, config.loss_scale_factor)
    always = config.kl_coef or config.entropy_coeff or llds_coef
    useful = [i for i, row in enumerate(rows) if always or any(row.advantages)]
    useful.sort(key=lambda i: len(rows[i].token_ids))
    lengths = [len(rows[i].token_ids) for i in useful]
    with recomputed_blocks(model, config.local.gradient_checkpointing):
        for numbers in micro_batches(lengths, config.micro_batch_size, config.local.max_token_len_per_gpu):
            indices = [useful[number] for number in numbers]
            weights = [weights_BT[i, : len(rows[i].token_ids)] for i in indices]
            loss, sums = policy_loss(model, [rows[i] for i in indices], weights, config, reference, llds_coef)
            loss.backward()
            for key, value in sums.items():
                totals[key] += value
    norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm).item())
    if not norm < float("inf"):
        raise FloatingPointError(
            f"the gradient norm is {norm} at step {step}: lower training.learning_rate, or continue from the last "
            "checkpoint"
        )
    if useful:
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm
