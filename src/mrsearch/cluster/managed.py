"""One run, one job: submit it or attach to it, wait for its end, cancel it when told to."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrsearch.cluster.files import JobFiles
from mrsearch.cluster.jobs import ManagedLauncher
from mrsearch.cluster.signals import Interrupts, Signalled, interrupts
from mrsearch.cluster.task import INTERRUPTED
from mrsearch.config.load import digest
from mrsearch.files import last_lines, read_own_json, write_json

log = logging.getLogger(__name__)
LAG_SECONDS = 20.0
"""How long a shared file system may hide what a job wrote."""
FULL_BYTES = 1_000_000
"""A disk with less room is called full."""
Show = Callable[[str], None]


class JobFailed(RuntimeError):
    """The run did not succeed; the message says why and where its output is."""


@dataclass(frozen=True)
class ManagedJob:
    """A command with outputs, of which at most one runs at any time, whoever starts it how often."""

    command: Sequence[str]
    name: str
    """What it is called in the queue; a part that tells runs apart is added."""
    log: Path
    """Where its output goes; its state lies beside it."""
    outputs: Sequence[Path]
    """What the command makes."""

    def run(self, launcher: ManagedLauncher, show: Show, progress: Callable[[], str | None]) -> None:
        """Submit or attach, and return once the command has succeeded; `show` gets news, `progress` is asked for them.

        A job that was lost (node, preemption, time limit) is submitted again, up to `launcher.max_submissions` times.
        SIGINT and SIGTERM cancel the job; SIGHUP leaves it, so that a closed terminal ends nothing. JobFailed says why
        a job failed.
        """
        with interrupts() as signals:
            job_id: str | None = None
            try:
                for submission in range(1, launcher.max_submissions + 1):
                    job_id = None  # until the next one is known, its state file is
                    job_id = self._submit_or_attach(launcher, show, signals)
                    if job_id is None:
                        return show(f"{self.name}: done before")
                    ended = self._wait(job_id, launcher, show, progress)
                    if ended is not None:
                        return self._finish(job_id, ended, launcher, show)
                    show(f"{self.name}: job {job_id} was lost ({launcher.describe(job_id)}), submission {submission}")
                raise JobFailed(f"{self.name}: lost {launcher.max_submissions} times, given up\n{last_lines(self.log)}")
            except Signalled as signalled:
                self._leave(job_id, launcher, show, signalled)
                raise

    @property
    def queue_name(self) -> str:
        """Unique to the place of the run, so that a job whose submitter died at once is found by its name."""
        path_digest = hashlib.sha256(str(self.log.absolute()).encode()).hexdigest()[:10]
        return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{self.name}-{path_digest}")

    def _submit_or_attach(self, launcher: ManagedLauncher, show: Show, signals: Interrupts) -> str | None:
        """The id of the one job that runs the command; None where it has succeeded already."""
        files, identity = JobFiles.beside(self.log), digest(list(self.command))
        with files.locked():
            state = read_own_json(files.state)
            job_id = state["job_id"] if isinstance(state.get("job_id"), str) else None
            if job_id is None or not self._runs(launcher, job_id):
                job_id = launcher.find(self.queue_name, self.log) or job_id
            if job_id is not None and self._runs(launcher, job_id):
                if state.get("identity", identity) == identity:
                    write_json(files.state, {"job_id": job_id, "identity": identity})
                    show(f"{self.name}: attached to job {job_id}")
                    return str(job_id)
                show(f"{self.name}: job {job_id} runs with other settings and is cancelled")
                launcher.cancel(job_id)
            elif state.get("identity") == identity and self._succeeded(files, state.get("job_id")):
                return None
            with signals.uninterrupted():
                job_id = launcher.submit(self.command, self.queue_name, self.log)
                write_json(files.state, {"job_id": job_id, "identity": identity})
        show(f"{self.name}: submitted job {job_id}, output in {self.log}")
        return job_id

    def _runs(self, launcher: ManagedLauncher, job_id: str) -> bool:
        return launcher.owns(job_id, self.queue_name, self.log) and launcher.active(job_id)

    def _succeeded(self, files: JobFiles, job_id: str | None) -> bool:
        ended = read_own_json(files.exit)
        return job_id is not None and ended.get("job_id") == job_id and ended.get("status") == 0 and self._complete()

    def _complete(self) -> bool:
        return all(path.exists() for path in self.outputs)

    def _wait(
        self, job_id: str, launcher: ManagedLauncher, show: Show, progress: Callable[[], str | None]
    ) -> dict[str, Any] | None:
        """How the command ended; None if the job was lost."""
        files, shown = JobFiles.beside(self.log), ""
        while True:
            active, state = launcher.active(job_id), launcher.describe(job_id)
            if state != shown:
                show(f"{self.name}: job {job_id} is {state}")
                shown = state
            if line := progress():
                show(line)
            if not active:
                break
            time.sleep(launcher.poll_seconds)
        deadline = time.monotonic() + (LAG_SECONDS if shown.startswith("COMPLETED") else 2.0)
        while True:
            ended = read_own_json(files.exit)
            if ended.get("job_id") == job_id and {"status", "reason"} <= ended.keys():
                return ended
            if launcher.lost(job_id):
                return None
            if time.monotonic() > deadline:
                return {"job_id": job_id, "status": INTERRUPTED, "reason": f"the job ended as {shown}"}
            time.sleep(0.2)

    def _finish(self, job_id: str, ended: dict[str, Any], launcher: ManagedLauncher, show: Show) -> None:
        if ended["status"] == 0:
            deadline = time.monotonic() + LAG_SECONDS
            while not self._complete() and time.monotonic() < deadline:
                time.sleep(0.2)
            missing = [str(path) for path in self.outputs if not path.exists()]
            if missing:
                raise JobFailed(f"{self.name}: job {job_id} succeeded without making {', '.join(missing)}")
            return show(f"{self.name}: job {job_id} is done")
        reason = ended["reason"] or f"its command ended with status {ended['status']}"
        if ended["status"] == -signal.SIGKILL:
            reason += ": it was killed, perhaps because it took more memory than mem_mb"
        failed = f"{self.name}: job {job_id} failed: {reason}"
        raise JobFailed("\n".join([failed, *self._full_disk(), last_lines(self.log)]))

    def _full_disk(self) -> list[str]:
        free = shutil.disk_usage(self.log.parent).free
        return [f"the disk that holds {self.log.parent} is full: make room and run again"] if free < FULL_BYTES else []

    def _leave(self, job_id: str | None, launcher: ManagedLauncher, show: Show, signalled: Signalled) -> None:
        job_id = job_id or read_own_json(JobFiles.beside(self.log).state).get("job_id")
        if job_id is None or not launcher.owns(job_id, self.queue_name, self.log):
            return
        if signalled.signum == signal.SIGHUP:
            log.info("%s: %s, job %s goes on; run again to attach to it", self.name, signalled, job_id)
            return
        log.info("%s: %s, cancelling job %s", self.name, signalled, job_id)
        launcher.cancel(job_id)
        with contextlib.suppress(BrokenPipeError):
            show(f"{self.name}: cancelled job {job_id}")
