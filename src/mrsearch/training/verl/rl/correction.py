"""Weights of sampled tokens for what lies between the server that sampled them and the model that learns from them."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def rollout_weights(data: Any, config: Any) -> tuple[Tensor, dict[str, float]]:
    """Truncated importance weights [B, T] by `algorithm.rollout_correction`, 0 where nothing is trained, and verl's
    metrics of them.

    data: padded tensors [B, T] `old_log_probs` (the model before the step), `rollout_log_probs` (the server) and
    `response_mask`.
    """
    from verl.protocol import DataProto
    from verl.trainer.ppo.rollout_corr_helper import compute_rollout_correction_and_add_to_batch

    corrected, metrics = compute_rollout_correction_and_add_to_batch(DataProto(batch=data), config)
    return corrected.batch["rollout_is_weights"], metrics
