"""`mrsearch retriever serve` in the foreground, as a person starts it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from mrsearch.config import load_run, load_study, write_study
from mrsearch.retrieval.indexes.index import build_index
from mrsearch.retrieval.indexes.passages import build_store

PATIENCE_SECONDS = 120


def test_it_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    retrievers = {"bow": {"kind": "dense", "encoder": {"kind": "bow"}}}
    overrides = {
        "retrieval.compared": [],
        "retrieval.retrievers": retrievers,
        "retrieval.use": "bow",
        "retrieval.service": {"mode": "http", "port": port},
    }
    study = load_study(load_run({"study": "demo", "overrides": overrides}))
    write_study(study, tmp_path / "study.json")
    build_store(((str(n), f"N{n}", f"N{n} likes v{n}") for n in range(20)), tmp_path / "corpus")
    build_index(study, "bow", tmp_path / "corpus", tmp_path / "indexes" / "bow")
    places = [f"--corpus={tmp_path / 'corpus'}", f"--indexes={tmp_path / 'indexes'}"]
    command = ["-m", "mrsearch.cli", "retriever", "serve", f"--study={tmp_path / 'study.json'}", *places]
    refused = subprocess.run([sys.executable, *command], capture_output=True, text=True, env=_without_bearer())
    assert refused.returncode and "MRSEARCH_BEARER" in refused.stderr and "--without-token" in refused.stderr
    command.append("--without-token")
    with subprocess.Popen([sys.executable, *command], stderr=subprocess.PIPE, text=True) as server:
        try:
            answer = _ask(server, f"http://127.0.0.1:{port}/retrieve")
            server.send_signal(signal.SIGINT)
            _, log = server.communicate(timeout=PATIENCE_SECONDS)
        finally:
            server.kill()
    assert answer["result"][0][0]["id"] == "7"
    assert f"serving 20 passages of retriever bow at http://127.0.0.1:{port}" in log
    assert server.returncode == 128 + signal.SIGINT
    assert "Traceback" not in log


def _without_bearer() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "MRSEARCH_BEARER"}


def _ask(server: subprocess.Popen, url: str) -> dict:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        try:
            return httpx.post(url, json={"queries": ["what does N7 like"], "topk": 1}).json()
        except httpx.ConnectError:
            time.sleep(0.1)
    raise AssertionError("no answer")
