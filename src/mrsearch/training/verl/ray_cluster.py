"""One Ray cluster for one training: its processes are children of ours and end with us.

`ray stop` is never called: it would end every Ray process of the user on a node, those of other jobs included.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mrsearch.cluster.addresses import NETWORK, own_address
from mrsearch.cluster.children import end_child, start_child
from mrsearch.cluster.environments import tools_first
from mrsearch.cluster.ports import free_ports
from mrsearch.cluster.stopping import ATTEMPT, RANK, SCRATCH, WORLD
from mrsearch.durable import create_exclusively
from mrsearch.files import read_json, write_json

log = logging.getLogger(__name__)
START_SECONDS = 300.0
"""How long nodes wait for each other."""
HEAD_STARTS = 3
"""How often Ray's head is started."""
UP = "ray_current_cluster"
"""What Ray writes into its folder once its head is up."""
END_SECONDS = 30.0
"""How long Ray may take to end by itself."""
POLL_SECONDS = 0.5
PREFIX = "mrs-"
"""Begins the names of Ray's folders."""
ALL = ""
"""All addresses of this machine."""
PORTS = ("--dashboard-agent-listen-port", "--dashboard-agent-grpc-port", "--metrics-export-port")
"""Ports that are fixed by default, so that two clusters on one machine would collide."""


@dataclass(frozen=True)
class Node:
    """This node's share of the cluster."""

    folder: Path
    """Where the nodes of one training meet; all see it."""
    cpus: int
    """Cores that Ray may hand out; logical, where there are no GPUs."""
    gpus: int
    object_store_mb: int | None = None
    """Shared memory for what processes exchange; None is Ray's default, 30 % of the node's."""

    @property
    def rank(self) -> int:
        """0 is the head."""
        return int(os.environ.get(RANK, "0"))

    @property
    def world(self) -> int:
        """Number of nodes."""
        return int(os.environ.get(WORLD, "1"))

    @property
    def meeting(self) -> Path:
        """The head's announcement; every attempt of a job has its own."""
        return self.folder / f"ray-{os.environ.get(ATTEMPT, f'local-{os.getpid()}')}.json"

    @property
    def scratch(self) -> Path:
        """The note of where this machine's Ray keeps its sockets."""
        return self.folder / f"ray-scratch-{socket.gethostname()}.json"


@contextlib.contextmanager
def ray_cluster(
    node: Node, environment: Mapping[str, str], meanwhile: Callable[[], None] = lambda: None
) -> Iterator[str | None]:
    """Start this node's part of Ray; the head yields the cluster's address once every node is there.

    On other nodes the block gets None, and the context ends with the head's. `environment` is set before Ray starts,
    because its workers inherit the environment of their own node. `meanwhile` is what the head does until Ray is up.
    RuntimeError where nodes do not find each other;
    ValueError where Ray cannot start from the environment's folder.
    """
    if " " in sys.prefix:
        raise ValueError(
            f"the training environment ({sys.prefix}) lies in a folder whose name has a space, where Ray cannot start "
            "its workers: install it elsewhere and name it in paths.gpu_environment, or without GPUs in "
            "paths.train_environment"
        )
    os.environ |= environment
    os.environ.pop("ROCR_VISIBLE_DEVICES", None)  # verl refuses it beside CUDA_VISIBLE_DEVICES
    if node.rank == 0:
        with _head(node, meanwhile) as address:
            yield address
        return
    yield None
    _work(node)


@contextlib.contextmanager
def _head(node: Node, meanwhile: Callable[[], None]) -> Iterator[str]:
    node.folder.mkdir(parents=True, exist_ok=True)
    _use_token(_token(node))
    process, address, scratch = _started_head(node, _address(), meanwhile)
    try:
        write_json(node.meeting, {"address": address, "scratch": str(scratch), "host": socket.gethostname()})
        _await_nodes(process, address, node.world)
        yield address
    finally:
        write_json(node.meeting, {"address": None})
        end_child(process, END_SECONDS)
        _remove_scratch(node)
        for file in (_token(node), *([node.meeting] if node.world == 1 else [])):
            file.unlink(missing_ok=True)


def _started_head(node: Node, host: str, meanwhile: Callable[[], None]) -> tuple[subprocess.Popen[bytes], str, Path]:
    """Ray's head once it is up, its address, the folder of its sockets. Ray gives up after half a minute, which a busy
    machine may take; then it is started anew. RuntimeError where it does not get up."""
    deadline = time.monotonic() + START_SECONDS
    for start in range(1, HEAD_STARTS + 1):
        port, client_port, *worker_ports = free_ports(2 + len(PORTS), ALL)
        scratch = _scratch(node)
        command = ["--head", f"--port={port}", f"--ray-client-server-port={client_port}", f"--temp-dir={scratch}"]
        process = _start(node, host, worker_ports, [*command, "--include-dashboard=false"])
        try:
            if start == 1:
                meanwhile()
            while process.poll() is None and time.monotonic() < deadline:
                if (scratch / UP).exists():
                    return process, f"{host}:{port}", scratch
                time.sleep(0.1)
        except BaseException:
            end_child(process, END_SECONDS)
            raise
        if process.poll() is None:
            end_child(process, END_SECONDS)
            raise RuntimeError(f"Ray's head was not up within {START_SECONDS:g} s: its output stands above in this log")
        log.warning("Ray's head ended with status %d before it was up, start %d", process.returncode, start)
    raise RuntimeError(f"Ray's head ended with status {process.returncode}: its output stands above in this log")


def _scratch(node: Node) -> Path:
    """A new folder for Ray's sockets and logs, and a note of it; that of an attempt that was killed here goes."""
    _remove_scratch(node)
    # Sockets lie in it, whose paths may have 107 characters.
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=os.environ.get(SCRATCH, "/tmp")))
    write_json(node.scratch, {"folder": str(folder)})
    return folder


def _remove_scratch(node: Node) -> None:
    noted = read_json(node.scratch)
    if noted is not None:
        folder = Path(noted["folder"])
        if folder.name.startswith(PREFIX):  # whatever the note says, nothing else is removed
            shutil.rmtree(folder, ignore_errors=True)
        node.scratch.unlink()


def _work(node: Node) -> None:
    """Lend this node to the head until it is done."""
    deadline = time.monotonic() + START_SECONDS
    while (meeting := read_json(node.meeting)) is None:
        if time.monotonic() > deadline:
            raise RuntimeError(f"no Ray head announced itself in {node.meeting} within {START_SECONDS:g} s")
        time.sleep(POLL_SECONDS)
    address = meeting["address"]
    if address is None:
        return
    apart = meeting["host"] != socket.gethostname()
    if apart:  # Ray makes the head's folder on every node
        _remove_scratch(node)
        write_json(node.scratch, {"folder": meeting["scratch"]})
    _use_token(_token(node))
    process = _start(node, _address(), free_ports(len(PORTS), ALL), [f"--address={address}"])
    try:
        while process.poll() is None and (read_json(node.meeting) or {}).get("address"):
            time.sleep(POLL_SECONDS)
    finally:
        end_child(process, END_SECONDS)
        if apart:
            _remove_scratch(node)


def _start(node: Node, host: str, free: Sequence[int], arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    store = [] if node.object_store_mb is None else [f"--object-store-memory={node.object_store_mb * 1_000_000}"]
    ports = [f"{option}={port}" for option, port in zip(PORTS, free, strict=True)]
    command = [
        *(str(Path(sys.executable).parent / "ray"), "start", "--block", "--disable-usage-stats"),
        *(f"--node-ip-address={host}", f"--num-cpus={node.cpus}", f"--num-gpus={node.gpus}"),
        *(*store, *ports, *arguments),
    ]
    log.info("starting %s", " ".join(command))
    return start_child(command, stdin=subprocess.DEVNULL, env=tools_first(os.environ, sys.executable))


def _token(node: Node) -> Path:
    return node.meeting.with_suffix(".token")


def _use_token(path: Path) -> None:
    """Who does not know the secret cannot run code in the cluster; only its owner can read the file."""
    if not path.exists():
        with os.fdopen(create_exclusively(path, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}


def _await_nodes(process: subprocess.Popen[bytes], address: str, world: int) -> None:
    """Until all nodes are alive; asked in a process of its own, since this one must still be free to join Ray."""
    code = (
        "import sys, time, ray\n"
        f"ray.init(address={address!r}, logging_level='ERROR')\n"
        f"deadline = time.monotonic() + {START_SECONDS}\n"
        f"while sum(node['Alive'] for node in ray.nodes()) < {world}:\n"
        "    if time.monotonic() > deadline: sys.exit(1)\n"
        "    time.sleep(0.5)\n"
    )
    if world > 1 and subprocess.run([sys.executable, "-c", code], check=False).returncode:
        raise RuntimeError(f"not all of {world} nodes joined Ray within {START_SECONDS:g} s")


def _address() -> str:
    """The address that other nodes reach this one by: in the site's network, else the one that Ray would take; a host's
    own name may stand for its loopback."""
    if network := os.environ.get(NETWORK):
        return own_address(network)
    from ray.util import get_node_ip_address

    return str(get_node_ip_address())
