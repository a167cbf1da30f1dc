"""Where a model of this process computes, and in which precision."""

from __future__ import annotations

import contextlib
from typing import Any

import torch


def device_of(model: Any) -> torch.device:
    """Where a model's weights lie."""
    device: torch.device = next(iter(model.parameters())).device
    return device


def job_device(gpus: int, key: str) -> torch.device:
    """The GPU of a job that asked for some by `key`, else the CPU, whatever else the machine has.

    ValueError where the job asked for one and PyTorch can use none.
    """
    if not gpus:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ValueError(
            f"{key} ({gpus}): PyTorch {torch.__version__} sees no GPU here: use the environment for GPUs (`make "
            f"gpu-env`) on a machine that has one, or set {key} to 0 for the CPU"
        )
    return torch.device("cuda")


def autocast(device: torch.device, dtype: str, *, cached: bool = False) -> contextlib.AbstractContextManager[Any]:
    """Within it, products of float32 weights are computed in `dtype`; with float32, as anywhere else.

    cached: keep each weight in that precision until the end, as long generation wants it. Gradients of a weight that is
    used several times would then be added up in that precision, so that passes with gradients convert it each time.
    """
    if dtype == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, getattr(torch, dtype), cache_enabled=cached)
