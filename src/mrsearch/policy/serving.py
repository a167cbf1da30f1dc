"""Starting the generator of an evaluation, and ending it whatever happens."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import secrets
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mrsearch.agent.chat import DEFAULT_TEMPLATE
from mrsearch.agent.protocol import CLOSING_TAGS
from mrsearch.cluster.children import end_child, start_child
from mrsearch.cluster.ports import free_port
from mrsearch.config.chat import ChatTemplate
from mrsearch.config.generator import Generator
from mrsearch.durable import create_exclusively
from mrsearch.exchange import bearer
from mrsearch.files import last_lines
from mrsearch.policy.backends import HEALTH
from mrsearch.policy.http_policy import HttpPolicy
from mrsearch.policy.listening import listens
from mrsearch.policy.server_command import MODEL_NAME, require_server, server_command, server_environment

if TYPE_CHECKING:
    from mrsearch.policy.torch_policy import TorchPolicy

log = logging.getLogger(__name__)

END_SECONDS = 20.0
"""How long a server may take to end by itself."""
POLL_SECONDS = 0.2
"""Between two looks at a server that starts."""
ANSWER_SECONDS = 5.0
"""For an answer of a server that starts."""


@dataclass(frozen=True)
class Server:
    """A server that this process started."""

    url: str
    key: str
    """Bearer token that it wants; made for it alone."""
    process: subprocess.Popen[bytes]
    """Leader of the session that all its processes belong to."""
    log_file: Path

    def check(self) -> None:
        """ValueError with the end of its log where it has ended: then its port may be anyone's."""
        if self.process.poll() is not None:
            raise ValueError(
                f"the generation server ended with code {self.process.returncode}:\n{last_lines(self.log_file)}"
            )


@contextlib.contextmanager
def open_policy(
    generator: Generator,
    folder: Path,
    max_context_tokens: int,
    log_file: Path,
    copies: int = 1,
    closing: Sequence[str] = CLOSING_TAGS,
    template: ChatTemplate = DEFAULT_TEMPLATE,
    job: tuple[str, int] | None = None,
) -> Iterator[TorchPolicy | HttpPolicy]:
    """The generator of the weights in `folder`: in this process, or a server that lives as long as the block.

    max_context_tokens: longest sequence it must take. log_file: where a server writes. copies: of the model that a
    server holds, each on GPUs of its own and with `requests` of its own. closing: tags that end a generation.
    template: what the chat template is told. job: the stage of the job that generates, and the GPUs that it asked for,
    which decide where a model of this process computes (`job_device`); for None, a GPU where there is one.

    ValueError where the job asked for a GPU that cannot be used, and where the server does not start.
    """
    if generator.kind == "torch":
        from mrsearch.policy.architectures import require_length
        from mrsearch.policy.arithmetic import any_device, job_device
        from mrsearch.policy.causal_model import load_config
        from mrsearch.policy.torch_policy import TorchPolicy

        device = any_device() if job is None else job_device(job[1], f"resources.{job[0]}.gpus")
        require_length(load_config(folder), max_context_tokens, str(folder))
        yield TorchPolicy.load(folder, device=device, dtype=generator.dtype, closing=closing, template=template)
        return
    from mrsearch.policy.tokenizer import load_tokenizer

    require_server(generator)
    tokenizer = load_tokenizer(folder)
    size = max(len(tokenizer), vocabulary_size(folder))
    with serve(generator, folder, max_context_tokens, log_file, copies) as server:
        together = generator.model_copy(update={"requests": generator.requests * copies})
        yield HttpPolicy(
            server.url,
            tokenizer,
            together,
            MODEL_NAME,
            key=server.key,
            vocabulary_size=size,
            check=server.check,
            closing=closing,
            template=template,
        )


@contextlib.contextmanager
def serve(
    generator: Generator, folder: Path, max_context_tokens: int, log_file: Path, copies: int = 1
) -> Iterator[Server]:
    """A server that this process started and that answers its health check; all its processes end with the block.

    ValueError with the end of its log where it dies or does not get healthy within `start_seconds`.
    """
    port, key = free_port(), secrets.token_urlsafe(32)
    log_file.parent.mkdir(parents=True, exist_ok=True)
    key_file = log_file.with_suffix(".yaml") if generator.kind == "sglang" else None
    with _key_options(key_file, key), log_file.open("wb") as output:
        command = server_command(generator, folder, port, max_context_tokens, copies, key_file)
        log.info("starting %s", " ".join(command))
        process = start_child(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=server_environment(key),
            start_new_session=True,
        )
        try:
            server = Server(f"http://127.0.0.1:{port}", key, process, log_file)
            _await_health(generator, server, port)
            _prove_key(generator, server)
            yield server
        finally:
            end_child(process, END_SECONDS, group=True)


def vocabulary_size(folder: Path) -> int:
    """Token ids that a model can generate, by its configuration: often more than its tokenizer knows."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return int(config.get("vocab_size") or config.get("text_config", {}).get("vocab_size") or 0)


@contextlib.contextmanager
def _key_options(path: Path | None, key: str) -> Iterator[None]:
    """Where a server takes its key from a file of options: that file, for its owner alone, as long as the block."""
    if path is None:
        yield
        return
    path.unlink(missing_ok=True)
    with os.fdopen(create_exclusively(path, 0o600), "w") as file:
        file.write(f"api-key: {key}\n")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _await_health(generator: Generator, server: Server, port: int) -> None:
    """Return once one of the server's own processes listens at its port and answers; nothing is sent to another's."""
    deadline = time.monotonic() + generator.start_seconds
    while True:
        server.check()
        if time.monotonic() > deadline:
            raise ValueError(
                f"the generation server was not healthy within generator.start_seconds ({generator.start_seconds:g}):\n"
                f"{last_lines(server.log_file)}"
            )
        if _accepts(port) and listens(server.process.pid, port) and _status(server.url + HEALTH[generator.kind]) == 200:
            return
        time.sleep(POLL_SECONDS)


def _prove_key(generator: Generator, server: Server) -> None:
    """The server refuses who does not know the key, and takes who does."""
    models = server.url + "/v1/models"
    without = _status(models)
    if without not in (401, 403):
        problem = f"the generation server at {server.url} answers without its key (HTTP {without})"
        if generator.command is None:
            raise ValueError(problem)
        log.warning("%s: other users of this machine can use it; give generator.command VLLM_API_KEY to check", problem)
    elif (status := _status(models, server.key)) != 200:
        raise ValueError(f"the generation server at {server.url} does not take its key: HTTP {status}")


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS):
        return True
    return False


def _status(url: str, key: str | None = None) -> int:
    """Status of a GET without proxy; 0 where there is no answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    headers = bearer(key)
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=ANSWER_SECONDS) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, http.client.HTTPException):
        return 0
