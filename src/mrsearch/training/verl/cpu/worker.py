"""Imported by every training process before its model is built (`model.external_lib`).

verl would start torch's process group with the backend "cpu:gloo,cpu:gloo", which torch refuses; where a group exists
already, verl takes that one.
"""

from __future__ import annotations

import os
from typing import Any

import torch.distributed as dist


def start_process_group() -> None:
    """gloo, where this process was given a rank and has no group yet."""
    given = all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))
    if given and not dist.is_initialized():
        dist.init_process_group(
            "gloo",
            rank=int(os.environ["RANK"]),
            world_size=int(os.environ["WORLD_SIZE"]),
            init_method=os.environ.get("DIST_INIT_METHOD"),
        )


def register_engines() -> None:
    """verl's FSDP2 engines for the device cpu, without the pinned memory that models which only look ahead ask for."""
    from verl.workers.engine.base import EngineRegistry
    from verl.workers.engine.fsdp import transformer_impl

    def for_cpu(base: Any) -> Any:
        class CpuEngine(base):
            def _build_fsdp_module(self, module: Any) -> Any:
                policy = transformer_impl.CPUOffloadPolicy
                transformer_impl.CPUOffloadPolicy = lambda *_, **__: None  # all parameters are on the CPU already
                try:
                    return super()._build_fsdp_module(module)
                finally:
                    transformer_impl.CPUOffloadPolicy = policy

        return CpuEngine

    kinds = {
        "language_model": transformer_impl.FSDPEngineWithLMHead,
        "value_model": transformer_impl.FSDPEngineWithValueHead,
    }
    for kind, base in kinds.items():
        known = EngineRegistry._engines.get(kind, {}).get("fsdp2", {})
        if "cpu" not in known:
            EngineRegistry.register(model_type=kind, backend="fsdp2", device="cpu")(for_cpu(base))


start_process_group()
if dist.is_initialized():
    register_engines()
