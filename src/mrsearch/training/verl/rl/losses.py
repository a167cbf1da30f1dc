"""Loss terms that verl does not have, as a policy loss in its registry.

verl's processes import this module because the actor's configuration names `DisplacementConfig` of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from verl.trainer.ppo.core_algos import agg_loss, get_policy_loss_fn, register_policy_loss
from verl.workers.config import PolicyLossConfig

from mrsearch.learning.losses import actions_of, llds
from mrsearch.training.verl.rl.recipe_model import LLDS


@dataclass
class DisplacementConfig(PolicyLossConfig):
    """verl's policy loss with LLDS beside it."""

    base_mode: str = "vanilla"
    """The policy loss that LLDS is added to."""
    llds_coef: float = 0.0


@register_policy_loss(LLDS)
def displacement_loss(
    old_log_prob: Tensor,
    log_prob: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    loss_agg_mode: str = "token-mean",
    config: Any = None,
    rollout_is_weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, Any]]:
    """The loss of `base_mode` and LLDS, aggregated alike; metrics of the former and the share of penalised tokens."""
    settings = config.policy_loss
    loss, metrics = get_policy_loss_fn(settings.base_mode)(
        old_log_prob=old_log_prob,
        log_prob=log_prob,
        advantages=advantages,
        response_mask=response_mask,
        loss_agg_mode=loss_agg_mode,
        config=config,
        rollout_is_weights=rollout_is_weights,
    )
    trained = response_mask.bool()
    penalty_K = llds(log_prob[trained], old_log_prob[trained], actions_of(trained))
    penalty_BT = torch.zeros_like(log_prob).masked_scatter(trained, penalty_K)
    penalty = agg_loss(
        loss_mat=penalty_BT, loss_mask=response_mask, loss_agg_mode=loss_agg_mode, **config.global_batch_info
    )
    share = (penalty_K > 0).sum() / trained.sum().clamp(min=1)
    return loss + settings.llds_coef * penalty, {**metrics, "actor/displaced": share.item()}
