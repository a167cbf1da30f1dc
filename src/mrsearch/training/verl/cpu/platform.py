"""A CPU as one of verl's platforms."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Iterator
from typing import Any

import torch
from verl.plugin.platform.platform_base import PlatformBase
from verl.plugin.platform.platform_manager import PlatformRegistry

NAME = "cpu"
PRETENDED_BYTES = 1 << 34
"""Memory that is reported where verl asks a device for its own; nothing depends on it here."""


class _DeviceModule(types.ModuleType):
    """torch.cpu with the functions of torch.cuda that verl calls whatever the device."""

    def __init__(self) -> None:
        super().__init__("mrsearch_cpu_device")

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.cpu, name)

    def is_available(self) -> bool:
        return False  # so that helpers that measure device memory pass over it

    def memory_allocated(self, *_: Any, **__: Any) -> int:
        return 0

    memory_reserved = max_memory_allocated = max_memory_reserved = memory_allocated

    def mem_get_info(self, *_: Any, **__: Any) -> tuple[int, int]:
        return PRETENDED_BYTES, PRETENDED_BYTES

    def synchronize(self, *_: Any, **__: Any) -> None:
        return None

    reset_peak_memory_stats = empty_cache = set_device = synchronize

    def get_rng_state(self, *_: Any, **__: Any) -> torch.Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: torch.Tensor, *_: Any, **__: Any) -> None:
        torch.set_rng_state(state)

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def get_device_name(self, *_: Any, **__: Any) -> str:
        return NAME


class CpuPlatform(PlatformBase):
    """Ray sees logical GPUs, one per training process; everything else is plain torch on the CPU with gloo."""

    device_name = NAME
    vendor_name = NAME
    device_module = _DeviceModule()

    def is_available(self) -> bool:
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        return True

    def current_device(self) -> torch.device:
        return torch.device(NAME)

    def device_count(self) -> int:
        return 1

    def set_device(self, device_index: int) -> None:
        return None

    def synchronize(self, device_index: int | None = None) -> None:
        return None

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:
        return None

    def empty_cache(self) -> None:
        return None

    def get_device_capability(self, device_index: int = 0) -> tuple[int | None, int | None]:
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"

    @contextlib.contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        yield

    def profiler_start(self) -> None:
        return None

    def profiler_stop(self) -> None:
        return None

    def ray_resource_name(self) -> str:
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return []

    def is_ipc_supported(self) -> bool:
        return False

    def cudart(self) -> Any:
        return None


def register() -> None:
    """Make the platform known as `cpu`."""
    PlatformRegistry.register(platform=NAME)(CpuPlatform)
