"""How a generation server is started: its command line, its environment, and the key that it asks for."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from mrsearch.cluster.environments import tools_first
from mrsearch.config.generator import Generator

MODEL_NAME = "policy"
"""Name under which a server serves."""
SGLANG_RESERVE = 8
"""Tokens of its context that sglang never fills; it refuses requests that would."""


def server_command(
    generator: Generator,
    folder: Path,
    port: int,
    max_context_tokens: int,
    copies: int = 1,
    key_file: Path | None = None,
) -> list[str]:
    """What starts the server, with so many copies of the model. key_file: options with the key, for sglang."""
    if generator.command is not None:
        fields = {
            "model": str(folder),
            "port": str(port),
            "context": str(max_context_tokens),
            "tensor_parallel": str(generator.tensor_parallel),
            "copies": str(copies),
        }
        return [word.format(**fields) for word in generator.command]
    shared = ["--served-model-name", MODEL_NAME, "--host", "127.0.0.1", "--port", str(port), "--dtype", generator.dtype]
    if generator.kind == "vllm":
        return [
            *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), *shared),
            *("--tensor-parallel-size", str(generator.tensor_parallel), "--max-model-len", str(max_context_tokens)),
            *("--gpu-memory-utilization", str(generator.gpu_memory_utilization)),
            *("--logprobs-mode", "processed_logprobs", "--enable-prefix-caching"),
            # Without it, what the model's generation_config.json says of sampling applies: penalties, top-k.
            *("--generation-config", "vllm", "--disable-uvicorn-access-log"),
            *(("--data-parallel-size", str(copies)) if copies > 1 else ()),
            *generator.server_arguments,
        ]
    return [
        *(sys.executable, "-m", "sglang.launch_server", "--model-path", str(folder), *shared),
        *("--tp-size", str(generator.tensor_parallel), "--context-length", str(max_context_tokens + SGLANG_RESERVE)),
        *("--mem-fraction-static", str(generator.gpu_memory_utilization), "--sampling-defaults", "openai"),
        *("--log-level-http", "warning"),
        *(("--config", str(key_file)) if key_file is not None else ()),
        *(("--dp-size", str(copies)) if copies > 1 else ()),
        *generator.server_arguments,
    ]


def server_environment(key: str) -> dict[str, str]:
    """Variables of the server's process: this one's, with the key, which a command line would show to everybody."""
    return tools_first(without_proxies(os.environ), sys.executable) | {"VLLM_API_KEY": key}


def without_proxies(variables: Mapping[str, str]) -> dict[str, str]:
    """Variables with loopback outside of whatever proxy they name: the server's processes talk to each other there."""
    local = ",".join(filter(None, [variables.get("no_proxy") or variables.get("NO_PROXY"), "127.0.0.1,localhost"]))
    return {**variables, "no_proxy": local, "NO_PROXY": local}


def require_server(generator: Generator) -> None:
    """ValueError where this interpreter cannot start the generator's server."""
    if generator.kind == "torch" or generator.command is not None:
        return
    if importlib.util.find_spec(generator.kind) is None:
        raise ValueError(
            f"generator.kind is {generator.kind}, which {sys.prefix} does not have: run in the environment of "
            "paths.gpu_environment (make gpu-env; mrsearch evaluate --gpu-environment), or set generator.command"
        )
