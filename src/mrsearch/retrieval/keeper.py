"""Keeps a lease young while a pipeline runs: `python -m mrsearch.retrieval.keeper TOKEN PID`.

A pipeline can be busy for longer than a lease without a single search. As long as its process PID lives, the keeper
renews the lease; it ends with that process, or when the lease is removed.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import psutil

from mrsearch.retrieval.files import ServiceFiles

POLL_SECONDS = 0.5


def keep(token: Path, pid: int) -> None:
    """Renew the lease of `token` until the process `pid` or the lease is gone."""
    lease = ServiceFiles(token).lease
    try:
        holder = psutil.Process(pid)
        while holder.is_running() and holder.status() != psutil.STATUS_ZOMBIE:
            os.utime(lease)
            time.sleep(POLL_SECONDS)
    except (psutil.NoSuchProcess, FileNotFoundError):
        return


def pipeline_pid() -> int | None:
    """The process of the Snakemake run that this process belongs to; None outside of one."""
    found = None
    for ancestor in psutil.Process().parents():
        try:
            words = ancestor.cmdline()[:3]
        except psutil.Error:
            break
        if any(Path(word).name == "snakemake" for word in words):
            found = ancestor.pid
    return found


if __name__ == "__main__":
    keep(Path(sys.argv[1]), int(sys.argv[2]))
