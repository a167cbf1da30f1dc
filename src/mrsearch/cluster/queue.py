"""What Slurm knows about a job: squeue first, which needs no accounting, then sacct.

Answers are believed only where they can be read. A command that fails, hangs or answers in other words than its format
says tells nothing about a job: `SlurmError`, never "the job has ended".
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

log = logging.getLogger(__name__)
WAITING = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"})
WAITING |= {"RESV_DEL_HOLD"}
ACTIVE = WAITING | {"RUNNING", "COMPLETING", "RESIZING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT"}
LOST = frozenset({"NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "TIMEOUT"})
"""Ends that say nothing about the command."""
ENDED = LOST | {"COMPLETED", "CANCELLED", "FAILED", "DEADLINE", "OUT_OF_MEMORY"}
"""Every end; a state that is not among them counts as active."""
COMMAND_SECONDS = 60.0
CANCEL_SECONDS = 120.0
CONTROLLER_SECONDS = 5.0
"""Time between two looks whether the controller is back."""
MARK = "mrsearch"
"""Begins every line of squeue that is an answer."""
SQUEUE = re.compile(rf"{MARK}\|(?P<id>[^|]+)\|(?P<name>[A-Z_]+)\|(?P<reason>[^|]*)\|(?P<uid>[^|]*)\|(?P<label>.*)")
SACCT = re.compile(r"(?P<id>[^|]+)\|(?P<name>[A-Z_]+)(?: by \S+)?\+?\|(?P<uid>[^|]*)\|(?P<label>.*)")
OVERRIDING = ("SQUEUE_", "SACCT_", "SCANCEL_", "SCONTROL_", "SINFO_", "SLURM_", "SBATCH_", "SRUN_", "SALLOC_")
"""Beginnings of variables by which a user's shell, or a job that this runs in, changes what Slurm's commands do."""
CONNECTING = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT", "SLURM_SACK_KEY", "SLURM_SACK_JWKS")
"""Those of them by which commands find and enter the cluster."""


@cache
def _name_strange_state(name: str) -> None:
    """Once a state, however often the queue is asked."""
    log.warning("Slurm calls a job %s, which is no state that is known here: it counts as active", name)


class SlurmError(RuntimeError):
    """A Slurm command failed, or its answer cannot be read: nothing is known about the job."""


@dataclass(frozen=True, slots=True)
class JobState:
    """A job's state in Slurm's words, why it waits, and whose job it is."""

    name: str
    reason: str = ""
    uid: str = ""
    """Number of the user who submitted it."""
    label: str = ""
    """The job's name, then `|` and its comment where Slurm keeps one."""

    def __post_init__(self) -> None:
        if self.name not in ACTIVE | ENDED:
            _name_strange_state(self.name)

    @property
    def active(self) -> bool:
        """Whether the job waits, runs or is being cleaned up; true for every state that is not known as an end."""
        return self.name not in ENDED

    def belongs(self, name: str, comment: str) -> bool:
        """Whether this is the job of this user with that name and comment, not a later one with the same id. Accounting
        may keep no comment."""
        kept_name, _, kept_comment = self.label.partition("|")
        return self.uid == str(os.getuid()) and kept_name == name and kept_comment in ("", "(null)", comment)

    def __str__(self) -> str:
        shown = self.reason and self.reason != "None" and self.name in WAITING
        return f"{self.name} ({self.reason})" if shown else self.name


def job_state(job_id: str) -> JobState | None:
    """The state of a job; None if neither the queue nor the accounting knows it. SlurmError if nobody can be asked."""
    state = job_states([job_id]).get(job_id)
    if isinstance(state, SlurmError):
        raise state
    return state


def job_states(job_ids: Iterable[str]) -> dict[str, JobState | SlurmError]:
    """The states of plain jobs by id. A job that neither the queue nor the accounting knows is missing; one about which
    accounting cannot be asked, or in whose answer it may be hidden, has the reason in its place.

    A plain id means a plain job, never an array of that number; `12_3` means that member of an array. SlurmError if the
    controller cannot be asked. ValueError for an id that is none of Slurm's.
    """
    ids = list(job_ids)
    for job_id in ids:
        if not re.fullmatch(r"[0-9]+(_[0-9]+)?", job_id):
            raise ValueError(f"job id ({job_id!r}) is not the number of one Slurm job")
    if not ids:
        return {}
    states: dict[str, JobState | SlurmError] = dict(_in_queue(ids))
    unlisted = [job_id for job_id in ids if job_id not in states]
    all_states = states | (_in_accounting(unlisted) if unlisted else {})
    return {job_id: all_states[job_id] for job_id in ids if job_id in all_states}


def find_job(name: str, comment: str) -> str | None:
    """Id of this user's newest active job of that name and comment."""
    states, strange = _read(SQUEUE, slurm(*_squeue(), "--me", "-n", name))
    ids = [int(job) for job, state in states.items() if state.active and state.belongs(name, comment) and job.isdigit()]
    if strange and not ids:
        raise _unreadable("squeue", strange)
    return str(max(ids)) if ids else None


def active_in(folder: str) -> list[str]:
    """Ids of this user's active jobs that were submitted from that folder. SlurmError if Slurm cannot be asked."""
    lines = slurm("squeue", "-h", "--me", "-t", "all", "-o", f"{MARK}|%A|%T|%Z").splitlines()
    rows = [line.split("|", 3) for line in lines if line.startswith(f"{MARK}|") and line.count("|") >= 3]
    if lines and not rows:
        raise SlurmError(f"squeue gave an answer that cannot be read: {lines[0][:200]!r}")
    return [job for _, job, state, submitted_from in rows if submitted_from == folder and state not in ENDED]


def preempted(job_id: str) -> bool:
    """Whether Slurm told an ended job to make way, in which case its failure says nothing about its command."""
    try:
        answer = slurm("scontrol", "show", "job", "-o", job_id)
    except SlurmError:
        return False
    preemption = re.search(r"\bPreemptTime=(\S+)", answer)
    return preemption is not None and preemption[1][:1].isdigit()


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


def await_controller(ending: Callable[[], bool] = lambda: False) -> None:
    """Return once the controller answers, or at the caller's end: what is submitted before that is refused. SlurmError
    where Slurm is missing."""
    preemption = False
    while not ending():
        try:
            slurm("sinfo", "-h", "-o", "%P")
            return
        except SlurmError as error:
            if "not installed" in str(error):
                raise
            if not preemption:
                log.warning("waiting until Slurm's controller answers: %s", error)
                preemption = True
            time.sleep(CONTROLLER_SECONDS)


def slurm(*command: str) -> str:
    """Output of a Slurm command; SlurmError with its message if it fails. Ctrl-C does not reach it, nor do variables
    that change what the command shows or does."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMMAND_SECONDS,
            check=False,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            env=clean_environment(),
        )
    except FileNotFoundError as error:
        raise SlurmError(f"{command[0]} is not installed here: start Snakemake where sbatch works") from error
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{command[0]} did not answer within {COMMAND_SECONDS:g} s") from error
    except OSError as error:
        raise SlurmError(f"{command[0]} cannot be run: {error}") from error
    if done.returncode:
        raise SlurmError(f"{' '.join(command)}: {done.stderr.strip() or f'status {done.returncode}'}")
    return done.stdout.strip()


def overriding() -> list[str]:
    """Names of the variables of this process that change what Slurm's commands do."""
    return [name for name in os.environ if name.startswith(OVERRIDING) and name not in CONNECTING]


def clean_environment() -> dict[str, str]:
    """The environment of every question to Slurm."""
    removed = set(overriding())
    return {name: value for name, value in os.environ.items() if name not in removed} | {"LC_ALL": "C"}


def _squeue() -> list[str]:
    return ["squeue", "-h", "-r", "-t", "all", "-o", f"{MARK}|%i|%T|%r|%U|%j|%k"]


def _in_queue(job_ids: list[str]) -> dict[str, JobState]:
    """What the controller knows. SlurmError if it cannot be asked, or if nothing of its answer can be read."""
    try:
        answer = slurm(*_squeue(), "-j", ",".join(job_ids))
    except SlurmError as error:
        if "Invalid job id" not in str(error):
            raise
        return {}
    states, strange = _read(SQUEUE, answer)
    if strange and not set(job_ids) <= set(states):
        raise _unreadable("squeue", strange)
    return states


def _in_accounting(job_ids: list[str]) -> dict[str, JobState | SlurmError]:
    """What accounting knows; nothing on a cluster without one."""
    fields = "JobID,State,UID,JobName,Comment"
    try:
        answer = slurm("sacct", "-X", "-n", "-P", "-j", ",".join(job_ids), "-o", fields)
    except SlurmError as error:
        if "accounting storage is disabled" in str(error) or "not installed" in str(error):
            return {}
        return dict.fromkeys(job_ids, error)
    states, strange = _read(SACCT, answer)
    hidden = [job_id for job_id in job_ids if strange and job_id not in states]
    return {**states, **dict.fromkeys(hidden, _unreadable("sacct", strange))}


def _read(line_of: re.Pattern[str], answer: str) -> tuple[dict[str, JobState], str]:
    """The jobs of an answer by their full ids (of members of arrays: `12_3`), and the first of its lines that is none
    of Slurm's (empty: there is none)."""
    states: dict[str, JobState] = {}
    strange = ""
    for line in filter(str.strip, answer.splitlines()):
        row = line_of.fullmatch(line)
        if row is None:
            strange = strange or line
        else:
            groups = row.groupdict()
            states[row["id"]] = JobState(row["name"], groups.get("reason") or "", row["uid"], row["label"])
    return states, strange


def _unreadable(program: str, line: str) -> SlurmError:
    return SlurmError(f"{program} gave an answer that cannot be read: {line[:200]!r}")
