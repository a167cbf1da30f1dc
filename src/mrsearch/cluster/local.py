"""Jobs as processes of this machine, each in a session of its own, so that they outlive who started them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil

from mrsearch.cluster.files import JobFiles
from mrsearch.cluster.task import TaskSpec, task_command, write_task

TASK_MODULE = "mrsearch.cluster.task"
MODULES = {
    "retriever": "mrsearch.retrieval.service.supervisor",
    "lease keeper": "mrsearch.retrieval.service.lease",
}
"""What jobs of these names run; all others run TASK_MODULE."""
GRACE_SECONDS = 30.0
"""Between SIGTERM and SIGKILL."""


class LocalLauncher:
    """A job's id is `<pid>-<start time>`: a later process with the same pid is not mistaken for it."""

    def submit(self, command: Sequence[str], name: str, log: Path) -> str:
        """Start the command in a new session."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        return f"{process.pid}-{psutil.Process(process.pid).create_time():.2f}"

    def active(self, job_id: str) -> bool:
        """Whether that very process still runs."""
        return self._process(job_id) is not None

    def describe(self, job_id: str) -> str:
        """Whether the process runs."""
        return "RUNNING" if self.active(job_id) else "ENDED"

    def owns(self, job_id: str, name: str, log: Path) -> bool:
        """Whether that process is this user's and runs the module that a job of that name runs, for the files beside
        `log`."""
        process = self._process(job_id)
        if process is None:
            return False
        beside = str(log.absolute().with_suffix(""))
        try:
            words, is_own_user = process.cmdline(), process.uids().real == os.getuid()
        except psutil.Error:
            return False
        is_command = words[1:3] == ["-m", MODULES.get(name, TASK_MODULE)]
        return is_own_user and is_command and words[3:4] in ([beside], [f"{beside}.job"])

    def queued(self, job_id: str) -> bool:
        """Never: a process starts at once."""
        return False

    def cancel(self, job_id: str) -> None:
        """SIGTERM to the process, SIGKILL to its whole session when it does not end in time."""
        process = self._process(job_id)
        if process is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
            try:
                process.wait(GRACE_SECONDS)
            except psutil.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(GRACE_SECONDS)

    @staticmethod
    def _process(job_id: str) -> psutil.Process | None:
        if not re.fullmatch(r"[0-9]{1,9}-[0-9]{1,12}\.[0-9]{1,6}", job_id):
            return None
        pid, _, created = job_id.partition("-")
        try:
            process = psutil.Process(int(pid))
            if abs(process.create_time() - float(created)) > 0.02 or process.status() == psutil.STATUS_ZOMBIE:
                return None
            return process
        except psutil.NoSuchProcess:
            return None


class LocalTaskLauncher(LocalLauncher):
    """Processes of this machine that record how they ended."""

    poll_seconds = 0.2
    max_submissions = 1

    def submit(self, command: Sequence[str], name: str, log: Path) -> str:
        """Start the command as the task of the folder beside `log`."""
        files = JobFiles.beside(log)
        write_task(files, TaskSpec(command=list(command), log=str(log.absolute())))
        return super().submit(task_command(files), name, files.folder / "task.log")

    def find(self, name: str, log: Path) -> str | None:
        """The process that runs the task of the folder beside `log`."""
        command = task_command(JobFiles.beside(log))[1:]
        for process in psutil.process_iter(["cmdline", "create_time", "status", "uids"]):
            info = process.info
            is_own_user = info["uids"] is not None and info["uids"].real == os.getuid()
            if is_own_user and (info["cmdline"] or [])[1:] == command and info["status"] != psutil.STATUS_ZOMBIE:
                return f"{process.pid}-{info['create_time']:.2f}"
        return None

    def lost(self, job_id: str) -> bool:
        """Never: a process of this machine that was killed was killed on purpose, or for its memory."""
        return False
