"""State files that name something else: nothing is attached to, and nothing ended, that was not started for them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from mrsearch.cluster import local
from mrsearch.cluster.files import JobFiles
from mrsearch.cluster.local import LocalLauncher, LocalTaskLauncher
from mrsearch.cluster.managed import ManagedJob
from mrsearch.cluster.task import Task, task_command
from mrsearch.files import read_own_json, write_json
from mrsearch.retrieval.service import lifetime
from mrsearch.retrieval.service.files import ServiceFiles

pytestmark = pytest.mark.integration
SLEEP = "import time; time.sleep(300)"


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes to end afterwards."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def pretending(started: list[subprocess.Popen[bytes]], *words: str) -> str:
    """The id of a process of ours that does nothing and has these words in its command line."""
    process = subprocess.Popen([sys.executable, "-c", SLEEP, *words])
    started.append(process)
    return f"{process.pid}-{psutil.Process(process.pid).create_time():.2f}"


def commands(endpoint: Path) -> dict[str, list[str]]:
    """Command lines that hold our words, and are not what a retriever's job runs for this endpoint file."""
    module = "mrsearch.retrieval.service.supervisor"
    return {
        "something else": [],
        "an editor": [str(endpoint)],
        "a search for our name": ["mrsearch.", str(endpoint)],
        "our words, as arguments": ["-m", module, str(endpoint)],
        "another's endpoint": ["-m", module, f"{endpoint}2"],
    }


@pytest.mark.parametrize("kind", commands(Path("x")))
def test_stop_ends_nothing_that_is_not_the_retriever(
    tmp_path: Path, started: list[subprocess.Popen[bytes]], kind: str
) -> None:
    files = ServiceFiles(tmp_path / "retriever.json")
    job_id = pretending(started, *commands(files.endpoint_file)[kind])
    write_json(files.state, {"job_id": job_id, "identity": "x", "keeper": job_id})
    assert lifetime.status(files.endpoint_file)["active"] is False
    lifetime.stop(files.endpoint_file)
    assert started[0].poll() is None and not files.state.exists()


@pytest.mark.parametrize(
    "job_id",
    [
        "",
        "x",
        "-",
        "-1",
        "0-0.00",
        "1-0.00",
        "²-1.00",
        "9" * 30 + "-1.00",
        "1-" + "9" * 400 + ".0",
        "1-nan",
        "a\n",
        "-1-1.0",
    ],
)
def test_ids_that_are_none_name_nothing(tmp_path: Path, job_id: str) -> None:
    launcher = LocalLauncher()
    assert not launcher.active(job_id) and not launcher.owns(job_id, "retriever", tmp_path / "log")
    launcher.cancel(job_id)


@pytest.mark.parametrize(
    "state", [[], 7, "text", {}, {"job_id": None}, {"job_id": 1}, {"job_id": ["a"]}, {"identity": "x"}, {"keeper": {}}]
)
def test_odd_state_files_name_nothing(tmp_path: Path, state: object) -> None:
    files = ServiceFiles(tmp_path / "retriever.json")
    write_json(files.state, state)
    assert lifetime.status(files.endpoint_file)["job_id"] is None
    lifetime.stop(files.endpoint_file)
    job = ManagedJob([sys.executable, "-c", "open('{}', 'w')"], "job", tmp_path / "job.log", [])
    write_json(JobFiles.beside(job.log).state, state)
    shown: list[str] = []
    job.run(LocalTaskLauncher(), shown.append, lambda: None)
    assert "submitted" in shown[0]


def test_a_start_time_tells_a_process_from_an_earlier_one(tmp_path: Path) -> None:
    process = psutil.Process()
    job_id = f"{process.pid}-{process.create_time() - 1:.2f}"
    assert not LocalLauncher().active(job_id)


def fake(uid: int, command: list[str]) -> SimpleNamespace:
    info = {
        "cmdline": command,
        "create_time": 1.0,
        "status": psutil.STATUS_RUNNING,
        "uids": SimpleNamespace(real=uid),
    }
    return SimpleNamespace(pid=4711, info=info)


def test_a_neighbours_process_with_our_words_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "job.log"
    command = task_command(JobFiles.beside(log))
    neighbour, own = fake(os.getuid() + 1, command), fake(os.getuid(), command)
    monkeypatch.setattr(local.psutil, "process_iter", lambda *_: [neighbour])
    assert LocalTaskLauncher().find("job", log) is None
    monkeypatch.setattr(local.psutil, "process_iter", lambda *_: [neighbour, own])
    assert LocalTaskLauncher().find("job", log) == "4711-1.00"


def test_a_neighbours_process_is_not_owned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "job.log"
    command = task_command(JobFiles.beside(log))
    for uid, words, owned in (
        (os.getuid(), command, True),
        (os.getuid() + 1, command, False),
        (os.getuid(), [command[0], "-m", "mrsearch.cli", command[3]], False),
        (os.getuid(), ["tail", "-f", command[3]], False),
    ):
        process = SimpleNamespace(cmdline=lambda words=words: words, uids=lambda uid=uid: SimpleNamespace(real=uid))
        monkeypatch.setattr(LocalLauncher, "_process", staticmethod(lambda _, process=process: process))
        assert LocalTaskLauncher().owns("1-1.00", "job", log) == owned


def test_a_neighbours_files_are_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.json"
    write_json(path, {"job_id": "1"})
    assert read_own_json(path) == {"job_id": "1"}
    assert read_own_json(tmp_path / "nothing") == {}
    path.write_text("{")
    assert read_own_json(path) == {}
    uid = os.getuid() or 1000
    if os.getuid() == 0:
        os.chown(path, 1001, -1)
        monkeypatch.setattr(os, "getuid", lambda: uid)
    else:
        monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    with pytest.raises(PermissionError, match="is not believed"):
        read_own_json(path)


def test_a_neighbours_task_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = JobFiles(tmp_path / "x.job")
    write_json(files.task, {"command": ["touch", str(tmp_path / "ran")], "log": str(tmp_path / "log")})
    if os.getuid() == 0:
        os.chown(files.task, 1001, -1)
        monkeypatch.setattr(os, "getuid", lambda: 1000)
    else:
        monkeypatch.setattr(os, "getuid", lambda: files.task.stat().st_uid + 1)
    with pytest.raises(PermissionError, match="is not believed"):
        Task(files.folder)
