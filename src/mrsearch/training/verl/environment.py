"""The environment variables of verl's processes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

CPU = {
    "VERL_USE_EXTERNAL_MODULES": "mrsearch.training.verl.cpu.plugin",
    "VERL_PLATFORM": "cpu",
    "GLOO_SOCKET_IFNAME": "lo",
    "OMP_NUM_THREADS": "1",
    # As many idle workers as logical cores would start at once, each for nothing.
    "RAY_prestart_worker_first_driver": "0",
}


def process_environment(folder: Path, on_cpu: bool) -> dict[str, str]:
    """What every process of a training with verl gets, with a GPU or without."""
    common = {
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "VERL_FILE_LOGGER_PATH": str(folder / "verl.jsonl"),
        "VERL_USE_EXTERNAL_PLUGINS": "none",
        # datasets imports both where it finds them, and nothing here uses them.
        "USE_JAX": "0",
        "USE_TF": "0",
    }
    return common | (CPU if on_cpu else compile_cache(os.environ))


def compile_cache(variables: Mapping[str, str]) -> dict[str, str]:
    """vLLM keeps what it compiles, as in evaluations, in VLLM_CACHE_ROOT or else where it does by itself.

    verl switches that off where nothing is set, because engines that wrote one folder together spoiled it; since
    version 2.10 PyTorch writes each file whole. VLLM_DISABLE_COMPILE_CACHE=1 switches it off.
    """
    root = variables.get("VLLM_CACHE_ROOT")
    cache = {"VLLM_DISABLE_COMPILE_CACHE": variables.get("VLLM_DISABLE_COMPILE_CACHE", "0")}
    return cache | ({"VLLM_CACHE_ROOT": str(Path(root).expanduser().absolute())} if root else {})
