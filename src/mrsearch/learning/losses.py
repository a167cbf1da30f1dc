"""The policy-gradient loss. Pure tensor functions."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Aggregation = Literal["meta_episode_mean", "token_mean", "meta_episode_sum"]


class PolicyLoss(NamedTuple):
    """The loss and what is logged beside it, summed over the tokens of this call so that calls add up."""

    loss: Tensor
    """Scalar; already divided by the whole mini-batch's weight."""
    clipped: Tensor
    """Number of trained tokens whose ratio left the clip range."""
    kl: Tensor
    """Sum of rollout minus current log-probability."""


def token_weights(
    mask_BT: Tensor, meta_episode_B: Tensor, aggregation: Aggregation, loss_scale_factor: float | None = None
) -> Tensor:
    """Weight of each token [B, T]; those of the two means sum to 1 over a whole mini-batch.

    token_mean: 1 / trained tokens. meta_episode_mean: 1 / (meta-episodes with trained tokens x the meta-episode's own
    trained tokens) (paper eq. 9). meta_episode_sum: 1 / (meta-episodes with trained tokens x `loss_scale_factor`), so
    that a token of a long meta-episode weighs as much as one of a short one (Dr. GRPO, https://arxiv.org/abs/2503.20783).
    `meta_episode_B` numbers the meta-episode of each row, as one may span several rows.
    """
    mask = mask_BT.to(torch.float32)
    if aggregation == "token_mean":
        return mask / mask.sum().clamp(min=1)
    owners = int(meta_episode_B.max()) + 1 if len(meta_episode_B) else 0
    tokens_M = torch.zeros(owners, device=mask.device).index_add_(0, meta_episode_B, mask.sum(1))
    members = (tokens_M > 0).sum().clamp(min=1)
    if aggregation == "meta_episode_sum":
        assert loss_scale_factor is not None, "a sum over tokens is divided by a constant"
        return mask / (members * loss_scale_factor)
    return mask / (tokens_M[meta_episode_B].clamp(min=1)[:, None] * members)


def ppo_clip(
    logprobs_K: Tensor,
    rollout_logprobs_K: Tensor,
    advantages_K: Tensor,
    weights_K: Tensor,
    clip_range: float,
    *,
    clip_range_high: float | None = None,
    dual_clip: float | None = None,
    sequence_K: Tensor | None = None,
) -> PolicyLoss:
    """PPO's clipped surrogate over K trained tokens: -sum of w min(ratio A, clip(ratio) A).

    The ratio is current over rollout policy (https://arxiv.org/abs/1707.06347, eq. 7); `clip_range_high` bounds it
    above where that differs (DAPO's clip-higher, https://arxiv.org/abs/2503.14476). With `dual_clip` c, a token of
    negative advantage counts c A at worst (https://arxiv.org/abs/1912.09729). With `sequence_K`, the number of each
    token's sequence, the ratio is the geometric mean over the sequence's tokens, and no dual clip applies (GSPO-token,
    https://arxiv.org/abs/2507.18071).
    """
    high = clip_range if clip_range_high is None else clip_range_high
    log_ratio = logprobs_K - rollout_logprobs_K
    ratio = (log_ratio if sequence_K is None else _of_sequences(log_ratio, sequence_K)).exp()
    objective = torch.minimum(ratio * advantages_K, ratio.clamp(1 - clip_range, 1 + high) * advantages_K)
    if dual_clip is not None and sequence_K is None:
        objective = torch.where(advantages_K < 0, torch.maximum(objective, dual_clip * advantages_K), objective)
    outside = (ratio - 1 > high) | (1 - ratio > clip_range)
    return PolicyLoss(-(objective * weights_K).sum(), outside.sum(), -log_ratio.detach().sum())


def _of_sequences(log_ratio_K: Tensor, sequence_K: Tensor) -> Tensor:
    """Each sequence's mean as the value of its tokens, each token's own gradient."""
    values_K = log_ratio_K.detach()
    count = int(sequence_K.max()) + 1 if len(sequence_K) else 0
    sums_S = torch.zeros(count, dtype=values_K.dtype, device=values_K.device).index_add_(0, sequence_K, values_K)
    means_S = sums_S / torch.bincount(sequence_K, minlength=count).clamp(min=1)
    return means_S[sequence_K] + log_ratio_K - values_K


def kl_penalty(logprobs_K: Tensor, reference_logprobs_K: Tensor, weights_K: Tensor) -> Tensor:
    """Weighted low-variance KL estimate towards a reference: exp(d) - d - 1 with d = reference - current
    (http://joschu.net/blog/kl-approx.html, k3)."""
    difference = reference_logprobs_K - logprobs_K
    return ((difference.exp() - difference - 1) * weights_K).sum()


def actions_of(mask_BT: Tensor) -> Tensor:
    """The number [K] of the action of each trained token, row after row: an action is a run of them."""
    mask = mask_BT.to(torch.bool)
    begins = mask & ~torch.nn.functional.pad(mask, (1, -1))
    return begins.flatten().cumsum(0)[mask.flatten()] - 1


def llds(logprobs_K: Tensor, rollout_logprobs_K: Tensor, actions_K: Tensor) -> Tensor:
    """The regulariser against lazy likelihood displacement, per token [K]: max(0, rollout - current log-probability)
    where the log-probability of the token's whole action fell, else 0. It is weighted as the policy's loss is.

    Source: arXiv 2512.04220; the form follows its abstract, as its code was not read.
    """
    fall_K = rollout_logprobs_K - logprobs_K
    actions = int(actions_K.max()) + 1 if len(actions_K) else 0
    totals = torch.zeros(actions, dtype=fall_K.dtype, device=fall_K.device).index_add(0, actions_K, fall_K.detach())
    return fall_K.clamp(min=0) * (totals[actions_K] > 0)
