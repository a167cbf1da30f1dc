"""The optimizer of the trainers in one process."""

from __future__ import annotations

from typing import Any

import torch

from mrsearch.config.sft import SupervisedTraining
from mrsearch.config.training import PolicyTraining
from mrsearch.policy.arithmetic import device_of


def adamw(model: Any, config: PolicyTraining | SupervisedTraining) -> torch.optim.AdamW:
    """AdamW over what of the model is trained. On a GPU its update is one kernel, which needs no memory beside the
    moments."""
    return torch.optim.AdamW(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
        fused=True if device_of(model).type == "cuda" else None,
    )
