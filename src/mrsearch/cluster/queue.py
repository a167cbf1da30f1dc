"""What Slurm knows about a job: squeue first, which needs no accounting, then sacct."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass

WAITING = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"})
ACTIVE = WAITING | {"RUNNING", "COMPLETING", "RESIZING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT"}
LOST = frozenset({"NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "TIMEOUT"})
"""Ends that say nothing about the command."""
COMMAND_SECONDS = 60.0
CANCEL_SECONDS = 120.0


class SlurmError(RuntimeError):
    """A Slurm command failed or its controller does not answer."""


@dataclass(frozen=True, slots=True)
class JobState:
    """A job's state in Slurm's words, and why it waits."""

    name: str
    reason: str = ""

    @property
    def active(self) -> bool:
        """Whether the job waits, runs or is being cleaned up."""
        return self.name in ACTIVE

    def __str__(self) -> str:
        shown = self.reason and self.reason != "None" and self.name == "PENDING"
        return f"{self.name} ({self.reason})" if shown else self.name


def job_state(job_id: str) -> JobState | None:
    """The state of a job; None if neither the queue nor the accounting knows it. SlurmError if Slurm is unreachable."""
    try:
        line = slurm("squeue", "-h", "-t", "all", "-j", job_id, "-o", "%T|%r").partition("\n")[0]
    except SlurmError as error:
        if "Invalid job id" not in str(error):
            raise
        line = ""
    if line:
        name, _, reason = line.partition("|")
        return JobState(name, reason)
    try:
        line = slurm("sacct", "-X", "-n", "-P", "-j", job_id, "-o", "State")
    except SlurmError:  # a cluster without accounting
        return None
    return JobState(line.splitlines()[-1].split()[0]) if line else None


def find_job(name: str) -> str | None:
    """Id of this user's newest active job of that name."""
    lines = slurm("squeue", "-h", "--me", "-n", name, "-o", "%A %T").splitlines()
    found = [int(job) for job, state in (line.split() for line in lines) if state in ACTIVE]
    return str(max(found)) if found else None


def cancel_job(job_id: str) -> None:
    """Cancel a job and wait until it is gone, its processes too. SlurmError if it stays for two minutes."""
    deadline = time.monotonic() + CANCEL_SECONDS
    state = job_state(job_id)
    if state is None or not state.active:
        return
    slurm("scancel", job_id)
    while (state := job_state(job_id)) is not None and state.active:
        if time.monotonic() > deadline:
            raise SlurmError(f"job {job_id} is still {state} {CANCEL_SECONDS:g} s after scancel")
        time.sleep(0.5)


def slurm(*command: str) -> str:
    """Output of a Slurm command; SlurmError with its message if it fails. Ctrl-C does not reach it."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False, start_new_session=True
        )
    except FileNotFoundError as error:
        raise SlurmError(f"{command[0]} is not installed here: start Snakemake where sbatch works") from error
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{command[0]} did not answer within {COMMAND_SECONDS:g} s") from error
    if done.returncode:
        raise SlurmError(f"{' '.join(command)}: {done.stderr.strip() or f'status {done.returncode}'}")
    return done.stdout.strip()
