"""The policy-gradient loss. Pure tensor functions."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Aggregation = Literal["meta_episode_mean", "token_mean"]


class PolicyLoss(NamedTuple):
    """The loss and what is logged beside it, summed over the tokens of this call so that calls add up."""

    loss: Tensor
    """Scalar; already divided by the whole mini-batch's weight."""
    clipped: Tensor
    """Number of trained tokens whose ratio left the clip range."""
    kl: Tensor
    """Sum of rollout minus current log-probability."""


def token_weights(mask_BT: Tensor, meta_episode_B: Tensor, aggregation: Aggregation) -> Tensor:
    """Weight of each token [B, T] such that weights over a whole mini-batch sum to 1.

    token_mean: 1 / trained tokens. meta_episode_mean: 1 / (meta-episodes with trained tokens x the meta-episode's own
    trained tokens) (paper eq. 9). `meta_episode_B` numbers the meta-episode of each row, as one may span several rows.
    """
    mask = mask_BT.to(torch.float32)
    if aggregation == "token_mean":
        return mask / mask.sum().clamp(min=1)
    owners = int(meta_episode_B.max()) + 1 if len(meta_episode_B) else 0
    tokens_M = torch.zeros(owners).index_add_(0, meta_episode_B, mask.sum(1))
    members = (tokens_M > 0).sum().clamp(min=1)
    return mask / (tokens_M[meta_episode_B].clamp(min=1)[:, None] * members)


def ppo_clip(
    logprobs_K: Tensor, rollout_logprobs_K: Tensor, advantages_K: Tensor, weights_K: Tensor, clip_range: float
) -> PolicyLoss:
    """PPO's clipped surrogate over K trained tokens: -sum of w min(ratio A, clip(ratio) A).

    The ratio is current over rollout policy (https://arxiv.org/abs/1707.06347, eq. 7).
    """
    log_ratio = logprobs_K - rollout_logprobs_K
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    loss = -(torch.minimum(ratio * advantages_K, clipped * advantages_K) * weights_K).sum()
    return PolicyLoss(loss, ((ratio - 1).abs() > clip_range).sum(), -log_ratio.detach().sum())


def kl_penalty(logprobs_K: Tensor, reference_logprobs_K: Tensor, weights_K: Tensor) -> Tensor:
    """Weighted low-variance KL estimate towards a reference: exp(d) - d - 1 with d = reference - current
    (http://joschu.net/blog/kl-approx.html, k3)."""
    difference = reference_logprobs_K - logprobs_K
    return ((difference.exp() - difference - 1) * weights_K).sum()
