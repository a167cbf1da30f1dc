"""Inside a job: `python -m mrsearch.cluster.task FOLDER` runs the folder's command and records how it ended.

The same code runs on a node of a cluster and on this machine. It guarantees one writer at a time. When Slurm loses a
node it restarts the job elsewhere, although the command may still run: that command is then killed, and its successor
waits long enough for it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from mrsearch.cluster.children import start_child
from mrsearch.cluster.files import JobFiles
from mrsearch.cluster.stopping import ATTEMPT, RANK, STOPPED, WORLD
from mrsearch.files import read_json, read_own_json, write_json

POLL_SECONDS = 0.2
OWNER_SECONDS = 1.0
"""Time between two looks at who owns the run."""
KILL_SECONDS = 20.0
"""Between SIGTERM and SIGKILL."""
INTERRUPTED, GIVEN_UP = STOPPED, STOPPED + 1


@dataclass(frozen=True)
class TaskSpec:
    """What a job runs, and its limits."""

    command: Sequence[str]
    log: str
    """Where the command's output is appended."""
    max_requeues: int = 0
    fence_seconds: float = 5.0
    stop_seconds: float = 60.0
    """How long the command may work on after the request to stop (SIGUSR2) before it is ended."""
    graceful: bool = False
    """Whether the command takes SIGUSR2 as a request to stop at its next step; others get SIGTERM."""


class Task:
    """One attempt at a job's command."""

    def __init__(self, folder: Path, slurm: bool = False) -> None:
        self.files = JobFiles(folder)
        self.spec = TaskSpec(**read_own_json(self.files.task))
        environment = os.environ if slurm else {}
        self._rank, self._world = environment.get("SLURM_PROCID", "0"), environment.get("SLURM_NTASKS", "1")
        self.leader = self._rank == "0"
        """Only the first node's task writes."""
        self.restarts = int(environment.get("SLURM_RESTART_COUNT", "0"))
        self.job_id = environment.get("SLURM_JOB_ID") or f"{os.getpid()}-{psutil.Process().create_time():.2f}"
        self._child: subprocess.Popen[bytes] | None = None
        self._ending = False
        self.noticed = False
        """Whether this attempt was told that it will be preempted or reach its time limit."""

    def run(self) -> int:
        """Run the command to its end; returns its exit status, INTERRUPTED or GIVEN_UP."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._end)
        if self.leader and self.restarts > self.spec.max_requeues:
            return self._give_up()
        if self.leader:
            self._take_over()
        self._note(f"attempt {self.restarts + 1} of job {self.job_id} on {_node()}")
        with Path(self.spec.log).open("ab") as log:
            self._child = start_child(
                self.spec.command,
                signal.SIGKILL,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                env=os.environ | {ATTEMPT: f"{self.job_id}-{self.restarts}", RANK: self._rank, WORLD: self._world},
            )
        status = self._wait(self._child)
        if status == INTERRUPTED:
            return INTERRUPTED
        if self.leader:
            write_json(self.files.exit, {"job_id": self.job_id, "status": status, "reason": ""})
        return status

    def notice(self) -> None:
        """Called by a signal handler: the command shall stop at its next step, or be ended."""
        self.noticed = True

    def _wait(self, child: subprocess.Popen[bytes]) -> int:
        looked = time.monotonic()
        while (status := child.poll()) is None:
            if self.noticed:
                return self._stop(child)
            if self._ending:
                self._note("told to end")
                self._terminate(child)
                return INTERRUPTED
            if time.monotonic() - looked > OWNER_SECONDS:
                looked = time.monotonic()
                if not self._owns():
                    _kill_group(child.pid)
                    self._note(f"job {self.job_id}, attempt {self.restarts + 1} was replaced: ended")
                    return INTERRUPTED
            time.sleep(POLL_SECONDS)
        _kill_group(child.pid)
        if self._ending and status:
            return INTERRUPTED
        return status

    def _stop(self, child: subprocess.Popen[bytes]) -> int:
        """Ask the command to stop, then make it; afterwards a successor may start at once."""
        self._note("asked to stop: preempted, or near the time limit")
        child.send_signal(signal.SIGUSR2 if self.spec.graceful else signal.SIGTERM)
        child.send_signal(signal.SIGCONT)  # a suspended command must wake up to stop
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(self.spec.stop_seconds)
        self._terminate(child)
        return 0 if self.spec.graceful and child.returncode == 0 else INTERRUPTED

    def _terminate(self, child: subprocess.Popen[bytes]) -> None:
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(KILL_SECONDS)
        _kill_group(child.pid)
        child.wait()
        self._release()

    def _end(self, signum: int, _: FrameType | None) -> None:
        self._ending = True

    def _give_up(self) -> int:
        reason = (
            f"job {self.job_id} was interrupted {self.restarts} times, more often than max_requeues "
            f"({self.spec.max_requeues}) of the site file allows: look at {self.spec.log}, then start again: it goes "
            "on from its last checkpoint"
        )
        write_json(self.files.exit, {"job_id": self.job_id, "status": GIVEN_UP, "reason": reason})
        return GIVEN_UP

    def _take_over(self) -> None:
        """Become the run's owner; wait while a predecessor that may still run finds out."""
        before = read_json(self.files.owner)
        write_json(self.files.owner, self._identity())
        if before and not before.get("released") and not _is_dead(before):
            self._note(f"waiting {self.spec.fence_seconds:g} s for the attempt on {before.get('host')} to end")
            time.sleep(self.spec.fence_seconds)

    def _release(self) -> None:
        """Tell a successor that it need not wait."""
        if self.leader and self._owns():
            with contextlib.suppress(OSError):  # a full disk: the successor waits a little longer
                write_json(self.files.owner, self._identity() | {"released": True})

    def _identity(self) -> dict[str, Any]:
        return {"job_id": self.job_id, "restarts": self.restarts, "host": socket.gethostname(), "pid": os.getpid()}

    def _owns(self) -> bool:
        owner = read_json(self.files.owner)
        return owner is None or (owner["job_id"], owner["restarts"]) == (self.job_id, self.restarts)

    def _note(self, text: str) -> None:
        if self.leader:
            with contextlib.suppress(OSError), Path(self.spec.log).open("a", encoding="utf-8") as log:
                log.write(f"[mrsearch] {text}\n")


def write_task(files: JobFiles, spec: TaskSpec) -> None:
    """Lay down what the job will run; how an earlier one ended is forgotten."""
    files.exit.unlink(missing_ok=True)
    write_json(files.task, asdict(spec))
    Path(spec.log).parent.mkdir(parents=True, exist_ok=True)


def task_command(files: JobFiles) -> list[str]:
    """The command that runs the task of a folder."""
    return [sys.executable, "-m", "mrsearch.cluster.task", str(files.folder)]


def _node() -> str:
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def _is_dead(owner: dict[str, Any]) -> bool:
    return owner.get("host") == socket.gethostname() and not psutil.pid_exists(owner.get("pid", -1))


def _kill_group(group: int) -> None:
    """End what the command left running, such as the tracker's service process."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(Task(Path(sys.argv[1])).run())
