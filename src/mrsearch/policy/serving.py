"""Starting the generator of an evaluation, and ending it whatever happens."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from mrsearch.cluster.children import ended_with_parent
from mrsearch.cluster.ports import free_port
from mrsearch.config.serving import Engine
from mrsearch.policy.dialects import HEALTH
from mrsearch.policy.http_policy import HttpPolicy

if TYPE_CHECKING:
    from mrsearch.policy.torch_policy import TorchPolicy

log = logging.getLogger(__name__)

MODEL_NAME = "policy"
"""Name under which a server serves."""
END_SECONDS = 20.0
"""How long a server may take to end by itself."""
TAIL = 2000
"""Characters of a failed server's log that the error shows."""


@contextlib.contextmanager
def open_policy(
    engine: Engine, folder: Path, context_tokens: int, log_file: Path, copies: int = 1
) -> Iterator[TorchPolicy | HttpPolicy]:
    """The generator of the weights in `folder`: in this process, or a server that lives as long as the block.

    context_tokens: longest sequence it must take. log_file: where a server writes. copies: of the model that a server
    holds, each on GPUs of its own and with `requests` of its own.
    """
    if engine.kind == "torch":
        import torch

        from mrsearch.policy.torch_policy import TorchPolicy

        yield TorchPolicy.load(folder, device="cuda" if torch.cuda.is_available() else "cpu", dtype=engine.dtype)
        return
    from mrsearch.policy.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(folder)
    with serve(engine, folder, context_tokens, log_file, copies) as url:
        together = engine.model_copy(update={"requests": engine.requests * copies})
        yield HttpPolicy(url, tokenizer, together, MODEL_NAME)


@contextlib.contextmanager
def serve(engine: Engine, folder: Path, context_tokens: int, log_file: Path, copies: int = 1) -> Iterator[str]:
    """The address of a server that answers its health check; it and all its processes end with the block.

    ValueError with the end of its log where it dies or does not get healthy within `start_seconds`.
    """
    port = free_port()
    command = server_command(engine, folder, port, context_tokens, copies)
    log_file.parent.mkdir(parents=True, exist_ok=True)
    log.info("starting %s", " ".join(command))
    with log_file.open("wb") as output:
        server = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=ended_with_parent(signal.SIGTERM),
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _await_health(engine, server, url, log_file)
        yield url
    finally:
        _end(server)


def server_command(engine: Engine, folder: Path, port: int, context_tokens: int, copies: int = 1) -> list[str]:
    """What starts the server, with so many copies of the model."""
    if engine.command is not None:
        fields = {
            "model": str(folder),
            "port": str(port),
            "context": str(context_tokens),
            "tensor_parallel": str(engine.tensor_parallel),
            "copies": str(copies),
        }
        return [word.format(**fields) for word in engine.command]
    if engine.kind == "vllm":
        return [
            *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)),
            *("--served-model-name", MODEL_NAME, "--host", "127.0.0.1", "--port", str(port)),
            *("--dtype", engine.dtype, "--tensor-parallel-size", str(engine.tensor_parallel)),
            *("--max-model-len", str(context_tokens), "--gpu-memory-utilization", str(engine.memory_fraction)),
            *("--logprobs-mode", "processed_logprobs", "--enable-prefix-caching"),
            *(("--data-parallel-size", str(copies)) if copies > 1 else ()),
        ]
    return [
        *(sys.executable, "-m", "sglang.launch_server", "--model-path", str(folder)),
        *("--served-model-name", MODEL_NAME, "--host", "127.0.0.1", "--port", str(port)),
        *("--dtype", engine.dtype, "--tp-size", str(engine.tensor_parallel)),
        *("--context-length", str(context_tokens), "--mem-fraction-static", str(engine.memory_fraction)),
        *(("--dp-size", str(copies)) if copies > 1 else ()),
    ]


def _await_health(engine: Engine, server: subprocess.Popen[bytes], url: str, log_file: Path) -> None:
    deadline = time.monotonic() + engine.start_seconds
    while True:
        if server.poll() is not None:
            raise ValueError(f"the generation server ended with code {server.returncode}:\n{_tail(log_file)}")
        if time.monotonic() > deadline:
            raise ValueError(
                f"the generation server was not healthy within engine.start_seconds ({engine.start_seconds:g}):\n"
                f"{_tail(log_file)}"
            )
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url + HEALTH[engine.kind], timeout=5.0).status_code == 200:
                return
        time.sleep(0.2)


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server's process group: first with a request, then by force."""
    for end in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, end)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(END_SECONDS)


def _tail(log_file: Path) -> str:
    return log_file.read_text(encoding="utf-8", errors="replace")[-TAIL:]
