"""One run, one job, as processes of this machine: the code that also runs inside Slurm jobs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest

from mrsearch.cluster.files import JobFiles
from mrsearch.cluster.local import LocalTaskLauncher
from mrsearch.cluster.managed import JobFailed, ManagedJob
from mrsearch.cluster.signals import Signalled
from mrsearch.cluster.task import TaskSpec, task_command, write_task
from mrsearch.files import read_json, write_json

pytestmark = pytest.mark.integration

# Counts in a file until a file called "go" appears.
COUNT = """
import sys, time, pathlib
place = pathlib.Path(sys.argv[1])
with (place / "starts").open("a") as file:
    file.write("x")
while not (place / "go").exists():
    time.sleep(0.02)
(place / "out").write_text("done")
"""


def counting(place: Path, *more: str) -> ManagedJob:
    return ManagedJob([sys.executable, "-c", COUNT, str(place), *more], "count", place / "job.log", [place / "out"])


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def starts(place: Path) -> int:
    path = place / "starts"
    return len(path.read_text()) if path.exists() else 0


def run(job: ManagedJob) -> list[str]:
    shown: list[str] = []
    job.run(LocalTaskLauncher(), shown.append, lambda: None)
    return shown


def test_two_waiters_share_one_job_and_a_third_finds_it_done(tmp_path: Path) -> None:
    job, shown = counting(tmp_path), [[], []]  # type: ignore[var-annotated]
    waiters = [threading.Thread(target=lambda news=news: news.extend(run(job))) for news in shown]
    for waiter in waiters:
        waiter.start()
    until(lambda: starts(tmp_path))
    (tmp_path / "go").touch()
    for waiter in waiters:
        waiter.join()
    assert starts(tmp_path) == 1
    assert sorted("attached" in " ".join(news) for news in shown) == [False, True]
    assert run(job) == ["count: done before"]
    (tmp_path / "out").unlink()
    run(job)
    assert starts(tmp_path) == 2, "outputs that are gone are made again"


def test_a_job_whose_submitter_died_at_once_is_found(tmp_path: Path) -> None:
    job = counting(tmp_path)
    LocalTaskLauncher().submit(job.command, job.queue_name, job.log)
    until(lambda: starts(tmp_path))
    assert not JobFiles.beside(job.log).state.exists()
    (tmp_path / "go").touch()
    assert any("attached" in line or "done" in line for line in run(job))
    assert (tmp_path / "out").exists()


def test_other_settings_end_the_running_job(tmp_path: Path) -> None:
    first = counting(tmp_path)
    ended: list[JobFailed] = []

    def wait_for_first() -> None:
        try:
            run(first)
        except JobFailed as failed:
            ended.append(failed)

    thread = threading.Thread(target=wait_for_first)
    thread.start()
    until(lambda: starts(tmp_path))
    other = counting(tmp_path, "--other")
    shown: list[str] = []
    second = threading.Thread(target=lambda: shown.extend(run(other)))
    second.start()
    until(lambda: starts(tmp_path) == 2)
    (tmp_path / "go").touch()
    second.join()
    thread.join()
    assert len(ended) == 1
    assert any("runs with other settings and is cancelled" in line for line in shown)


def test_a_failure_repeats_the_end_of_the_log(tmp_path: Path) -> None:
    job = ManagedJob([sys.executable, "-c", "import sys; print('why'); sys.exit(3)"], "bad", tmp_path / "bad.log", [])
    with pytest.raises(JobFailed, match=r"(?s)bad: job .* failed: its command ended with status 3.*bad.log:.*why"):
        run(job)


def test_success_without_outputs_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mrsearch.cluster.managed.LAG_SECONDS", 0.1)
    job = ManagedJob([sys.executable, "-c", ""], "empty", tmp_path / "job.log", [tmp_path / "out"])
    with pytest.raises(JobFailed, match=r"succeeded without making .*out"):
        run(job)


class InterruptedLauncher(LocalTaskLauncher):
    """Ctrl-C comes when the job exists and its submitter does not know its id yet."""

    def submit(self, command: Sequence[str], name: str, log: Path) -> str:
        job_id = super().submit(command, name, log)
        os.kill(os.getpid(), signal.SIGINT)
        return job_id


def test_an_interrupt_during_the_submission_leaves_no_job(tmp_path: Path) -> None:
    shown: list[str] = []
    with pytest.raises(Signalled, match="SIGINT"):
        counting(tmp_path).run(InterruptedLauncher(), shown.append, lambda: None)
    assert children(tmp_path) == []
    assert [line for line in shown if "cancelled job" in line], shown
    (tmp_path / "go").touch()
    run(counting(tmp_path))
    assert (tmp_path / "out").exists(), "the next run starts afresh"


# Takes a moment to clear up when it is interrupted.
CLEARING = """
import pathlib, sys, time
try:
    pathlib.Path(sys.argv[1], "started").touch()
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(1)
    pathlib.Path(sys.argv[1], "cleared").touch()
"""


def test_a_command_of_the_workflow_clears_up_before_the_interrupt_goes_on(tmp_path: Path) -> None:
    waiter = "import sys; from pathlib import Path; from mrsearch.cluster.commands import run_to_the_end as run; "
    waiter += "run([sys.executable, '-c', sys.argv[1], sys.argv[2]], Path(sys.argv[2], 'logs', 'log'))"
    command = [sys.executable, "-c", waiter, CLEARING, str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    until(lambda: (tmp_path / "started").exists())
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert b"KeyboardInterrupt" in error
    assert (tmp_path / "cleared").exists()


def start_task(place: Path, command: list[str]) -> tuple[subprocess.Popen[bytes], JobFiles]:
    files = JobFiles(place / "job")
    write_task(files, TaskSpec(command=command, log=str(place / "job.log")))
    return subprocess.Popen(task_command(files)), files


def children(place: Path) -> list[int]:
    found = psutil.process_iter(["cmdline", "status"])
    return [p.pid for p in found if str(place) in (p.info["cmdline"] or []) and p.info["status"] != "zombie"]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_a_command_never_outlives_its_task(tmp_path: Path, signum: signal.Signals) -> None:
    task, files = start_task(tmp_path, [sys.executable, "-c", COUNT, str(tmp_path)])
    until(lambda: starts(tmp_path))
    task.send_signal(signum)
    task.wait()
    until(lambda: children(tmp_path) == [])
    assert not files.exit.exists()


def test_a_replaced_attempt_is_ended(tmp_path: Path) -> None:
    task, files = start_task(tmp_path, [sys.executable, "-c", COUNT, str(tmp_path)])
    until(lambda: starts(tmp_path))
    write_json(files.owner, {"job_id": "another", "restarts": 1, "host": "elsewhere", "pid": 1})
    assert task.wait(30) == 75
    assert children(tmp_path) == []
    assert "was replaced: ended" in (tmp_path / "job.log").read_text()
    assert read_json(files.owner)["job_id"] == "another"  # type: ignore[index]


@pytest.mark.parametrize("variable", ["SLURM_PROCID", "SLURM_JOB_ID"])
def test_a_process_of_this_machine_takes_nothing_from_a_surrounding_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "7")
    task, files = start_task(tmp_path, [sys.executable, "-c", ""])
    assert task.wait(30) == 0
    ended = json.loads(files.exit.read_text())
    assert ended["status"] == 0 and ended["job_id"].startswith(f"{task.pid}-")
