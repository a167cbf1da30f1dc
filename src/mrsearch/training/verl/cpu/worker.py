"""Imported by every training process before its models are built.

verl would start torch's process group with the backend "cpu:gloo,cpu:gloo", which torch refuses; where a group exists
already, verl takes that one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist


def start_process_group() -> None:
    """gloo, where this process was given a rank and has no group yet."""
    has_rank = all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))
    if has_rank and not dist.is_initialized():
        dist.init_process_group(
            "gloo",
            rank=int(os.environ["RANK"]),
            world_size=int(os.environ["WORLD_SIZE"]),
            init_method=os.environ.get("DIST_INIT_METHOD"),
        )


def register_engines() -> None:
    """verl's FSDP2 engines for the device cpu, which differ where verl names what only GPUs have: pinned memory for
    models that only look ahead, flash-attn for the critic, and servers that compute in bfloat16."""
    from torch.distributed.tensor import DTensor
    from verl.utils import fsdp_utils
    from verl.utils import model as verl_model
    from verl.workers.engine.base import EngineRegistry
    from verl.workers.engine.fsdp import transformer_impl

    def for_cpu(base: Any) -> Any:
        class CpuEngine(base):
            def _build_fsdp_module(self, module: Any) -> Any:
                with mock.patch.object(transformer_impl, "CPUOffloadPolicy", lambda *_, **__: None):
                    return super()._build_fsdp_module(module)

            def _build_module(self) -> Any:
                with mock.patch.object(verl_model, "load_valuehead_model", load_critic):
                    return super()._build_module()

            def _merged_lora_per_tensor_param(self) -> Iterator[tuple[str, torch.Tensor]]:
                """Weights with their adapters, which are taken out again once the last was read."""
                with fsdp_utils.merged_lora_context(self.module, backup_adapters=True):
                    for name, weight in fsdp_utils.normalize_peft_param_name(self.module.state_dict()).items():
                        yield name, weight.full_tensor() if isinstance(weight, DTensor) else weight

        return CpuEngine

    kinds = {
        "language_model": transformer_impl.FSDPEngineWithLMHead,
        "value_model": transformer_impl.FSDPEngineWithValueHead,
    }
    for kind, base in kinds.items():
        engines = EngineRegistry._engines.get(kind, {}).get("fsdp2", {})
        if "cpu" not in engines:
            EngineRegistry.register(model_type=kind, backend="fsdp2", device="cpu")(for_cpu(base))


def load_critic(local_path: str, torch_dtype: Any, model_config: Any, **_: Any) -> Any:
    """The value model: the policy's layers with one output per token."""
    from transformers import AutoModelForTokenClassification

    loader: Any = AutoModelForTokenClassification
    return loader.from_pretrained(
        local_path,
        dtype=torch_dtype,
        config=model_config,
        attn_implementation="sdpa",
        local_files_only=True,
        trust_remote_code=False,
    )


start_process_group()
if dist.is_initialized():
    register_engines()
