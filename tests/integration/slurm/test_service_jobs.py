"""The retrieval server as a Slurm job: crashes, requeues, failed starts and abandoned servers; nothing is left."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from mrsearch.config import Run, Study, load_study, write_study
from mrsearch.retrieval.engine import open_engine
from mrsearch.retrieval.indexes.index import build_index
from mrsearch.retrieval.indexes.passages import build_store
from mrsearch.retrieval.service import lifetime as service
from mrsearch.retrieval.service.endpoint import read_endpoint

from .cluster import TestCluster
from .training import SITE, STUDY, wait_until

pytestmark = pytest.mark.integration
TITLES = [f"T{number}" for number in range(40)]


def study_with(**overrides: object) -> Study:
    return load_study(Run(study=str(STUDY), overrides=overrides))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Corpus and index."""
    folder = tmp_path_factory.mktemp("served passages")
    build_store(((title, title, f"about {title}") for title in TITLES), folder / "corpus")
    build_index(study_with(), "dense", folder / "corpus", folder / "indexes" / "dense")
    return folder


@pytest.fixture
def endpoint_file(quiet: TestCluster, place: Path) -> Iterator[Path]:
    endpoint_file = place / "dense.json"
    yield endpoint_file
    service.stop(endpoint_file)


def start(served: Path, endpoint_file: Path, **overrides: object) -> subprocess.Popen[str]:
    """`mrsearch retriever start` on Slurm."""
    write_study(study_with(**overrides), endpoint_file.with_name("study.json"))
    places = [
        "--study",
        endpoint_file.with_name("study.json"),
        "--corpus",
        served / "corpus",
        "--indexes",
        served / "indexes",
    ]
    command = [sys.executable, "-m", "mrsearch.cli", "retriever", "start", *places, "--scheduler", "slurm"]
    command += ["--gpu-environment", sys.prefix]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*map(str, command), "--site", str(SITE), str(endpoint_file)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], status: int = 0) -> str:
    output, _ = process.communicate(timeout=240)
    assert process.returncode == status, output
    return output


def assert_nothing_left(endpoint_file: Path, cluster: TestCluster, url: str | None = None) -> None:
    assert cluster.jobs() == []
    running = [process.info for process in psutil.process_iter(["pid", "cmdline", "status"])]
    mine = [
        each["pid"] for each in running if str(endpoint_file) in (each["cmdline"] or []) and each["status"] != "zombie"
    ]
    assert mine == []
    assert [
        path.name for path in endpoint_file.parent.iterdir() if re.search(r"json$|live$|lease$|state$", path.name)
    ] in (
        [],
        ["study.json"],
    )
    if url is not None:
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/health")


def test_attach_crash_and_requeue_under_a_client(served: Path, endpoint_file: Path, quiet: TestCluster) -> None:
    finish(start(served, endpoint_file))
    first = service.status(endpoint_file)
    assert first["healthy"] and quiet.jobs() == [first["job_id"]]
    endpoint_file.unlink()  # as after SIGKILL of Snakemake: the next run starts the rule again
    assert "attached to job" in finish(start(served, endpoint_file))
    engine = open_engine(study_with(), served / "corpus", served / "indexes", endpoint_file)
    answers: list[str] = []
    boots: set[str] = set()
    done = threading.Event()

    async def keep_asking() -> None:
        while not done.is_set():
            for title in TITLES:
                (hit,) = await engine.search(title, 1)
                assert hit.passage.title == title
                answers.append(title)
            boots.update(endpoint.boot for endpoint in [read_endpoint(endpoint_file)] if endpoint)

    client = threading.Thread(target=lambda: asyncio.run(keep_asking()))
    client.start()
    try:
        wait_until(lambda: len(boots) == 1, "the first answers")
        os.kill(int(first["boot"].partition("-")[0]), signal.SIGKILL)
        wait_until(lambda: len(boots) == 2, "the restarted server's answers")
        quiet.call("scontrol", "requeue", first["job_id"])
        wait_until(lambda: len(boots) == 3, "the requeued server's answers")
    finally:
        done.set()
        client.join()
    assert engine.counts.failed == 0
    assert service.status(endpoint_file)["job_id"] == first["job_id"]
    last = service.status(endpoint_file)
    service.stop(endpoint_file)
    assert_nothing_left(endpoint_file, quiet, last["url"])


def test_crash_before_the_first_answer_names_the_log(served: Path, endpoint_file: Path, quiet: TestCluster) -> None:
    broken = endpoint_file.parent / "broken"
    (broken / "dense").mkdir(parents=True)
    for file in (served / "indexes" / "dense").rglob("*"):
        if file.is_file():
            target = broken / "dense" / file.relative_to(served / "indexes" / "dense")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes()[:100] if file.suffix == ".faiss" else file.read_bytes())
    write_study(study_with(), endpoint_file.with_name("study.json"))
    places = ["--study", endpoint_file.with_name("study.json"), "--corpus", served / "corpus", "--indexes", broken]
    command = [sys.executable, "-m", "mrsearch.cli", "retriever", "start", *places, "--scheduler=slurm"]
    command.append(f"--gpu-environment={sys.prefix}")
    done = subprocess.run([*map(str, command), f"--site={SITE}", str(endpoint_file)], capture_output=True, text=True)
    assert done.returncode != 0
    assert "ended before it answered a query" in done.stderr and "dense.json.log" in done.stderr
    assert_nothing_left(endpoint_file, quiet)


def test_interrupted_start_cancels_its_job(served: Path, endpoint_file: Path, quiet: TestCluster) -> None:
    process = start(served, endpoint_file)
    wait_until(lambda: quiet.jobs(), "the job")
    wait_until(lambda: (endpoint_file.parent / "dense.json.state").exists(), "the state")
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert_nothing_left(endpoint_file, quiet)


def test_nobody_comes_back_and_the_lease_ends_the_job(served: Path, endpoint_file: Path, quiet: TestCluster) -> None:
    finish(start(served, endpoint_file, **{"retrieval.service.lease_seconds": 3.0}))
    url = service.status(endpoint_file)["url"]
    wait_until(lambda: quiet.jobs() == [], "the job has ended")
    assert service.forget(endpoint_file)
    service.stop(endpoint_file)
    assert_nothing_left(endpoint_file, quiet, url)
