"""The keeper of a server's lease: it renews while its run works, and lets go of one that only exists."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mrsearch.files import write_json
from mrsearch.retrieval.service import lease
from mrsearch.retrieval.service.files import ServiceFiles

pytestmark = pytest.mark.integration

SECONDS = 0.4
OLD = 1_000_000.0


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServiceFiles:
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.01)
    files = ServiceFiles(tmp_path / "dense.json")
    files.renew()
    write_json(files.spec, {"study": {"retrieval": {"service": {"lease_seconds": SECONDS}}}})
    return files


@pytest.fixture
def holder() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def renewed(files: ServiceFiles) -> bool:
    """Whether the lease is renewed again after it was made old."""
    os.utime(files.lease, (OLD, OLD))
    time.sleep(0.2)
    return files.lease.stat().st_mtime != OLD


def test_signs_of_work_keep_a_lease_and_their_absence_ends_it(
    files: ServiceFiles, holder: subprocess.Popen[bytes]
) -> None:
    answers: list[bool | None] = [True]
    looks = threading.Semaphore(0)

    def works(_: psutil.Process) -> bool | None:
        looks.release()
        return answers[-1]

    keeper = threading.Thread(target=lease.keep, args=(files.endpoint_file, holder.pid, works))
    keeper.start()
    for _ in range(20):
        looks.acquire()
    assert renewed(files)
    answers.append(None)  # the cluster cannot be asked: nothing changes
    for _ in range(20):
        looks.acquire()
    assert renewed(files)
    answers.append(False)
    for _ in range(20):
        looks.acquire()
    assert not renewed(files)
    answers.append(True)  # work again, before the server has ended
    for _ in range(10):
        looks.acquire()
    assert renewed(files)
    files.lease.unlink()
    keeper.join(30)
    assert not keeper.is_alive()


@pytest.mark.parametrize("command", ["sleep", "squeue"])
def test_a_process_below_the_run_is_a_sign_of_work_and_a_question_is_none(
    files: ServiceFiles, tmp_path: Path, command: str
) -> None:
    program = tmp_path / command
    program.symlink_to("/bin/sleep")
    code = f"import subprocess, sys; subprocess.Popen([{str(program)!r}, '60']); print(flush=True); sys.stdin.read()"
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    parent.stdout.readline()
    process = psutil.Process(parent.pid)
    write_json(files.state, {"job_id": "1-2.00", "identity": ""})
    try:
        (child,) = process.children()
        assert lease._works(files, process) == (command == "sleep")
    finally:
        child.kill()
        parent.communicate()


@pytest.mark.parametrize(
    ("answer", "works"),
    [
        ("echo 'mrsearch|7|RUNNING|{cwd}'", False),
        ("echo 'mrsearch|7|RUNNING|{cwd}'; echo 'mrsearch|8|PENDING|{cwd}'", True),
        ("echo 'mrsearch|8|COMPLETED|{cwd}'", False),
        ("echo 'mrsearch|8|RUNNING|/elsewhere'", False),
        ("exit 1", None),
        ("echo hello", None),
    ],
)
def test_a_job_of_the_runs_folder_is_a_sign_of_work(
    files: ServiceFiles,
    holder: subprocess.Popen[bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    works: bool | None,
) -> None:
    (tmp_path / "squeue").write_text(f"#!/bin/sh\n{answer.format(cwd=Path.cwd())}\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    write_json(files.state, {"job_id": "7", "identity": ""})
    assert lease._works(files, psutil.Process(holder.pid)) is works
