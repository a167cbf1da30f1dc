"""Where a model of this process computes, and in which precision."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Any

import torch

log = logging.getLogger(__name__)
DRIVER = Path("/proc/driver/nvidia/version")
"""Of NVIDIA's kernel module, where it is loaded; containers see it too."""


def device_of(model: Any) -> torch.device:
    """Where a model's weights lie."""
    device: torch.device = next(iter(model.parameters())).device
    return device


def any_device() -> torch.device:
    """The GPU where PyTorch can use one, else the CPU: for work that no job asked for."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def job_device(gpus: int, key: str) -> torch.device:
    """The GPU of a job that asked for some by `key`, else the CPU, whatever else the machine has; and the CPU, with a
    warning, where there is no driver.

    ValueError where the job asked for one and PyTorch cannot use what is there.
    """
    if not gpus:
        return torch.device("cpu")
    if (device := any_device()).type == "cuda":
        return device
    problem = f"{key} ({gpus}): PyTorch {torch.__version__} can use no GPU here"
    if DRIVER.exists():
        raise ValueError(
            f"{problem}, and there is a driver: use the environment for GPUs (`make gpu-env`) and a driver that is "
            f"new enough (docs/training.md), or set {key} to 0 for the CPU"
        )
    log.warning("%s, and there is no driver: the CPU takes its place", problem)
    return torch.device("cpu")


def autocast(device: torch.device, dtype: str, *, cached: bool = False) -> contextlib.AbstractContextManager[Any]:
    """Within it, products of float32 weights are computed in `dtype`; with float32, as anywhere else.

    cached: keep each weight in that precision until the end, as long generation wants it. Gradients of a weight that is
    used several times would then be added up in that precision, so that passes with gradients convert it each time.
    """
    if dtype == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, getattr(torch, dtype), cache_enabled=cached)
