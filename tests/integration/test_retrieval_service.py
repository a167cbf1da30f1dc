"""The managed lifetime, with real processes."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import httpx
import psutil
import pytest

from mrsearch.config import load_run, load_study
from mrsearch.retrieval import service
from mrsearch.retrieval.endpoint import read_endpoint
from mrsearch.retrieval.engine import open_engine
from mrsearch.retrieval.indexes import build_index
from mrsearch.retrieval.passages import build_store

pytestmark = pytest.mark.integration
TITLES = [f"T{n}" for n in range(60)]


def study(lease_seconds=600.0, **overrides):
    overrides = {"retrieval.service": {"mode": "http", "lease_seconds": lease_seconds}, **overrides}
    return load_study(load_run({"study": "demo", "overrides": overrides}))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("service with spaces")
    build_store(((title, title, f"about {title}") for title in TITLES), place / "corpus")
    build_index(study(), "dense", place / "corpus", place / "indexes" / "dense")
    return place


@pytest.fixture
def token(tmp_path):
    token = tmp_path / "service" / "dense.json"
    yield token
    service.stop(token)


def start(place, token, **options):
    service.start(study(**options), place / "corpus", place / "indexes", token)
    return service.status(token)


def left_over(token):
    """Processes that mention the token, and files beside it other than log and lock."""
    processes = [p.pid for p in psutil.process_iter(["cmdline"]) if str(token) in (p.info["cmdline"] or [])]
    files = [path.name for path in token.parent.iterdir() if path.suffix not in (".log", ".lock")]
    return processes + files


def server_pid(status):
    return int(status["boot"].partition("-")[0])


def wait_until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "still not so"
        time.sleep(0.1)


def test_attach_crash_under_load_replace_and_stop(place, token):
    first = start(place, token)
    assert first["healthy"] and first["active"]
    assert start(place, token)["boot"] == first["boot"], "the same server is attached to"
    engine = open_engine(study(), place / "corpus", place / "indexes", token)
    answers, boots, done = {}, set(), threading.Event()

    async def keep_asking():
        while not done.is_set():
            for title in TITLES:
                (hit,) = await engine.search(title, 1)
                answers[title] = hit.passage.title
            boots.add(read_endpoint(token).boot if read_endpoint(token) else None)

    client = threading.Thread(target=lambda: asyncio.run(keep_asking()))
    client.start()
    wait_until(lambda: len(answers) == len(TITLES))
    os.kill(server_pid(first), signal.SIGKILL)
    wait_until(lambda: (s := service.status(token))["healthy"] and s["boot"] != first["boot"], 40)
    answers.clear()
    wait_until(lambda: len(answers) == len(TITLES))
    done.set()
    client.join()
    assert answers == {title: title for title in TITLES}
    assert engine.counts.failed == 0 and engine.counts.retries > 0
    assert not service.gone(token)
    other = start(place, token, **{"retrieval.topk": 2})
    assert other["healthy"] and other["job_id"] != first["job_id"], "another configuration is another server"
    os.kill(int(other["job_id"].partition("-")[0]), signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(server_pid(other)))
    service.stop(token)
    assert left_over(token) == []
    for gone in (first, other):
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{gone['url']}/health")


def test_damaged_index_fails_at_once_and_names_the_log(place, token, tmp_path):
    shutil.copytree(place / "corpus", tmp_path / "corpus")
    shutil.copytree(place / "indexes", tmp_path / "indexes")
    index = tmp_path / "indexes" / "dense" / "vectors.faiss"
    index.write_bytes(index.read_bytes()[:100])
    begun = time.monotonic()
    with pytest.raises(RuntimeError, match=r"(?s)ended before it answered.*dense\.json\.log.*index is damaged"):
        service.start(study(), tmp_path / "corpus", tmp_path / "indexes", token)
    assert time.monotonic() - begun < 30
    assert left_over(token) == []


def test_lease_ends_a_server_nobody_uses_and_its_stale_token_is_dropped(place, token):
    holder = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    service.start(study(lease_seconds=2.0), place / "corpus", place / "indexes", token, holder=holder.pid)
    time.sleep(4)
    assert service.status(token)["healthy"], "its holder lives"
    holder.kill()
    holder.wait()
    wait_until(lambda: not service.status(token)["active"])
    assert token.exists()
    assert service.gone(token)
    assert not token.exists()
    service.stop(token)
    assert left_over(token) == []
