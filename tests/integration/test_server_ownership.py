"""A generation server is known by its session, and a neighbour at its port is told nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mrsearch.config.generator import Generator
from mrsearch.policy.listening import listens
from mrsearch.policy.serving import serve

pytestmark = pytest.mark.integration

MODEL = Path("model")


def test_only_processes_of_the_servers_session_count_as_the_server():
    listening = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)"
    child = subprocess.Popen(
        [sys.executable, "-c", f"{listening}; time.sleep(99)"],
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    try:
        port = int(child.stdout.readline())
        assert listens(child.pid, port) and not listens(child.pid, port + 1)
        assert not listens(os.getsid(0), port), "a neighbour's server"
    finally:
        child.kill()
        child.wait()


def test_a_neighbour_at_the_port_is_never_asked(tmp_path, monkeypatch):
    """The port was free a moment ago; who took it gets neither the key nor a prompt."""
    with socket.create_server(("127.0.0.1", 0)) as neighbour:
        neighbour.settimeout(0)
        port = neighbour.getsockname()[1]
        monkeypatch.setattr("mrsearch.policy.serving.free_port", lambda: port)
        idle = Generator(kind="vllm", command=(sys.executable, "-c", "import time; time.sleep(99)"), start_seconds=1)
        with pytest.raises(ValueError, match=r"not healthy within"), serve(idle, MODEL, 99, tmp_path / "log"):
            pass
        told = []
        while True:
            try:
                connection, _ = neighbour.accept()
            except BlockingIOError:
                break
            connection.settimeout(5)
            told.append(connection.recv(100))
        assert told and not any(told), "connections, but not a byte"
