"""Keeps a lease young while a pipeline works: `python -m mrsearch.retrieval.service.lease ENDPOINT PID`.

A pipeline can be busy for longer than a lease without a single search. As long as its process PID lives and there are
signs of work, the keeper renews the lease; it ends with that process, or when the lease is removed. A process that
only waits for jobs which are gone holds no GPU.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from mrsearch.cluster.queue import SlurmError, active_in
from mrsearch.files import read_json, read_own_json
from mrsearch.retrieval.service.files import ServiceFiles

log = logging.getLogger(__name__)
POLL_SECONDS = 0.5
LOOK_SECONDS = 30.0
"""Time between two looks for signs of work, each a question to the cluster; less where a lease is short."""
LEASE_SECONDS = 600.0
"""How long there may be no sign of work where nothing says how long a lease is."""
ASKING = ("squeue", "sacct", "scontrol", "sinfo", "which")
"""What a run that only waits still starts."""


def keep(endpoint_file: Path, pid: int, works: Callable[[psutil.Process], bool | None] | None = None) -> None:
    """Renew the lease of `endpoint_file` until the process `pid` or the lease is gone.

    `works` says whether there are signs of work: processes below `pid`, or jobs that wait or run (default: those of
    this machine and, where the server is a Slurm job, of the queue). After `retrieval.service.lease_seconds` without
    any the lease is left to age until there are some again; None, for questions without an answer, counts for neither.
    """
    files = ServiceFiles(endpoint_file)
    works = works or (lambda holder: _works(files, holder))
    seconds = _lease_seconds(files)
    looked, idle = time.monotonic(), 0.0
    try:
        holder = psutil.Process(pid)
        while holder.is_running() and holder.status() != psutil.STATUS_ZOMBIE:
            now = time.monotonic()
            if now - looked > min(LOOK_SECONDS, seconds / 4):
                working = works(holder)
                waited = 0.0 if working else idle + (now - looked if working is False else 0.0)
                _say_change(idle < seconds, waited < seconds, pid, seconds)
                idle, looked = waited, now
            if idle < seconds:
                os.utime(files.lease)
            time.sleep(POLL_SECONDS)
    except (psutil.NoSuchProcess, FileNotFoundError):
        return


def _say_change(renewing: bool, renew: bool, pid: int, seconds: float) -> None:
    if renewing and not renew:
        log.warning(
            "no sign of work of the run (process %d) for %g s: neither a process below it nor a job of its folder. The "
            "lease is not renewed any more, and the server ends after another %g s without searches",
            pid,
            seconds,
            seconds,
        )
    elif renew and not renewing:
        log.warning("the run (process %d) works again: the lease is renewed", pid)


def pipeline_pid() -> int | None:
    """The process of the Snakemake run that this process belongs to; None outside of one."""
    pid = None
    for ancestor in psutil.Process().parents():
        try:
            words = ancestor.cmdline()[:3]
        except psutil.Error:
            break
        if any(Path(word).name == "snakemake" for word in words):
            pid = ancestor.pid
    return pid


def _works(files: ServiceFiles, holder: psutil.Process) -> bool | None:
    """Whether the run has a process of its own at work here, or a job of its folder in the queue besides the server."""
    if any(map(_at_work, holder.children(recursive=True))):
        return True
    server = str(read_own_json(files.state).get("job_id", ""))
    if not server.isdigit():
        return False
    try:
        return any(job != server for job in active_in(holder.cwd()))
    except (SlurmError, psutil.AccessDenied):
        return None


def _at_work(child: psutil.Process) -> bool:
    try:
        return child.status() != psutil.STATUS_ZOMBIE and child.name() not in ASKING
    except psutil.NoSuchProcess:
        return False


def _lease_seconds(files: ServiceFiles) -> float:
    study: Any = (read_json(files.spec) or {}).get("study", {})
    return float(study.get("retrieval", {}).get("service", {}).get("lease_seconds", LEASE_SECONDS))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    keep(Path(sys.argv[1]), int(sys.argv[2]))
