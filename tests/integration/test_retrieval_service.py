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
from mrsearch.retrieval.engine import open_engine
from mrsearch.retrieval.indexes.index import build_index
from mrsearch.retrieval.indexes.passages import build_store
from mrsearch.retrieval.service import lifetime as service
from mrsearch.retrieval.service.endpoint import read_endpoint
from mrsearch.retrieval.service.files import ServiceFiles

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
def endpoint_file(tmp_path):
    endpoint_file = tmp_path / "service" / "dense.json"
    yield endpoint_file
    service.stop(endpoint_file)


def start(place, endpoint_file, **options):
    service.start(study(**options), place / "corpus", place / "indexes", endpoint_file)
    return service.status(endpoint_file)


def left_over(endpoint_file):
    """Processes that mention the endpoint_file, and files beside it other than log and lock."""
    processes = [p.pid for p in psutil.process_iter(["cmdline"]) if str(endpoint_file) in (p.info["cmdline"] or [])]
    files = [path.name for path in endpoint_file.parent.iterdir() if path.suffix not in (".log", ".lock")]
    return processes + files


def server_pid(status):
    return int(status["boot"].partition("-")[0])


def wait_until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "still not so"
        time.sleep(0.1)


def test_attach_crash_under_load_replace_and_stop(place, endpoint_file):
    first = start(place, endpoint_file)
    assert first["healthy"] and first["active"]
    assert start(place, endpoint_file)["boot"] == first["boot"], "the same server is attached to"
    engine = open_engine(study(), place / "corpus", place / "indexes", endpoint_file)
    answers, boots, done = {}, set(), threading.Event()

    async def keep_asking():
        while not done.is_set():
            for title in TITLES:
                (hit,) = await engine.search(title, 1)
                answers[title] = hit.passage.title
            boots.add(read_endpoint(endpoint_file).boot if read_endpoint(endpoint_file) else None)

    client = threading.Thread(target=lambda: asyncio.run(keep_asking()))
    client.start()
    wait_until(lambda: len(answers) == len(TITLES))
    os.kill(server_pid(first), signal.SIGKILL)
    wait_until(lambda: (s := service.status(endpoint_file))["healthy"] and s["boot"] != first["boot"], 40)
    answers.clear()
    wait_until(lambda: len(answers) == len(TITLES))
    done.set()
    client.join()
    assert answers == {title: title for title in TITLES}
    assert engine.counts.failed == 0 and engine.counts.retries > 0
    assert not service.forget(endpoint_file)
    other = start(place, endpoint_file, **{"retrieval.topk": 2})
    assert other["healthy"] and other["job_id"] != first["job_id"], "another configuration is another server"
    os.kill(int(other["job_id"].partition("-")[0]), signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(server_pid(other)))
    service.stop(endpoint_file)
    assert left_over(endpoint_file) == []
    for gone in (first, other):
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{gone['url']}/health")


def test_damaged_index_fails_at_once_and_names_the_log(place, endpoint_file, tmp_path):
    shutil.copytree(place / "corpus", tmp_path / "corpus")
    shutil.copytree(place / "indexes", tmp_path / "indexes")
    index = tmp_path / "indexes" / "dense" / "vectors.faiss"
    index.write_bytes(index.read_bytes()[:100])
    with pytest.raises(RuntimeError, match=r"(?s)ended before it answered.*dense\.json\.log.*index is damaged"):
        service.start(study(), tmp_path / "corpus", tmp_path / "indexes", endpoint_file)
    assert left_over(endpoint_file) == []


def test_lease_ends_a_server_nobody_uses_and_its_stale_token_is_dropped(place, endpoint_file):
    """A run that works, which a process below it shows, keeps the server; its end lets the server go."""
    seconds = 3.0
    code = "import subprocess, time; subprocess.Popen(['sleep', '1000']); time.sleep(1000)"
    holder = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    try:
        corpus, indexes = place / "corpus", place / "indexes"
        service.start(study(lease_seconds=seconds), corpus, indexes, endpoint_file, holder=holder.pid)
        lease = ServiceFiles(endpoint_file).lease
        begun = lease.stat().st_mtime
        wait_until(lambda: lease.stat().st_mtime > begun + 2 * seconds)
        assert service.status(endpoint_file)["healthy"], "its holder works"
    finally:
        os.killpg(holder.pid, signal.SIGKILL)
        holder.wait()
    wait_until(lambda: not service.status(endpoint_file)["active"])
    assert endpoint_file.exists()
    assert service.forget(endpoint_file)
    assert not endpoint_file.exists()
    service.stop(endpoint_file)
    assert left_over(endpoint_file) == []


def test_a_run_that_only_exists_lets_its_server_go(place, endpoint_file):
    holder = subprocess.Popen(["sleep", "1000"])
    try:
        service.start(study(lease_seconds=1.0), place / "corpus", place / "indexes", endpoint_file, holder=holder.pid)
        wait_until(lambda: not service.status(endpoint_file)["active"])
        assert holder.poll() is None
        lines = endpoint_file.with_name(f"{endpoint_file.name}.log").read_text()
        assert "no sign of work" in lines and "the lease is over" in lines
    finally:
        holder.kill()
        holder.wait()
    service.stop(endpoint_file)
    assert left_over(endpoint_file) == []
