"""What becomes of short jobs on Slurm: whether each goes on, has succeeded, has failed or is to be repeated.

A question that fails changes nothing. A job that was preempted or whose node was lost is submitted again, and that is
no failure of its command.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from mrsearch.cluster import queue
from mrsearch.cluster.queue import WAITING, JobState, SlurmError

LOST = frozenset({"NODE_FAIL", "BOOT_FAIL", "PREEMPTED"})
"""Ends after which a job is submitted again. A time limit is not among them: a short job would meet it again."""
UNKNOWN_SECONDS = 60.0
"""How long Slurm may say that it does not know a job before that is believed."""
UNSURE_SECONDS = 600.0
"""The same where only accounting could tell, and cannot be asked."""


class Verdict(Enum):
    """What a look at the queue says of a job."""

    ACTIVE = "active"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    AGAIN = "again"
    """To be submitted again."""


@dataclass
class JobWatch:
    """The jobs of one run. `say` gets news for the user, each once."""

    max_resubmissions: int
    say: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    resubmissions: dict[str, int] = field(default_factory=dict)
    """By a job's title, how often it was submitted again."""
    _since: dict[str, float] = field(default_factory=dict)
    _states: dict[str, JobState] = field(default_factory=dict)
    _disturbed: set[str] = field(default_factory=set)
    _away: bool = False

    def look(self, titles: Mapping[str, str]) -> dict[str, tuple[Verdict, str]]:
        """For every job's Slurm id, of which `titles` says what it runs: what became of it, and that in a sentence."""
        try:
            states = queue.job_states(titles)
        except SlurmError as error:
            if not self._away:
                self.say(f"Slurm cannot be asked about the jobs, which is tried again until it answers: {error}")
            self._away = True
            self._disturbed |= set(titles)
            return dict.fromkeys(titles, (Verdict.ACTIVE, ""))
        if self._away:
            self.say("Slurm answers again")
        self._away = False
        return {job_id: self._judged(job_id, title, states.get(job_id)) for job_id, title in titles.items()}

    def _judged(self, job_id: str, title: str, state: JobState | SlurmError | None) -> tuple[Verdict, str]:
        if not isinstance(state, JobState):
            return self._without_state(job_id, title, state)
        self._since.pop(job_id, None)
        before = self._states.get(job_id)
        self._states[job_id] = state
        if state.active:
            if before is not None and state.name in WAITING and before.name not in WAITING:
                self.say(f"{title}: job {job_id} was preempted or lost its node: Slurm starts it again ({state})")
            return Verdict.ACTIVE, ""
        if state.name == "COMPLETED":
            return Verdict.SUCCEEDED, ""
        if state.name in LOST or queue.preempted(job_id):
            why = "lost its node" if state.name in ("NODE_FAIL", "BOOT_FAIL") else "was preempted"
            return self._lost(job_id, title, f"{why} ({state.name})")
        if job_id in self._disturbed and state.name == "FAILED":  # without a controller, srun in the job fails
            return self._lost(job_id, title, "failed while Slurm's controller was away")
        return Verdict.FAILED, f"{title}: job {job_id} failed: Slurm calls it {state.name}. "

    def _without_state(self, job_id: str, title: str, error: SlurmError | None) -> tuple[Verdict, str]:
        since = self._since.setdefault(job_id, self.clock())
        patience = UNKNOWN_SECONDS if error is None else UNSURE_SECONDS
        if self.clock() - since < patience:
            return Verdict.ACTIVE, ""
        why = "is not known to Slurm any more" if error is None else f"cannot be asked about ({error})"
        return self._lost(job_id, title, why)

    def _lost(self, job_id: str, title: str, why: str) -> tuple[Verdict, str]:
        """Submitted again, also where a controller that crashed forgot the job: two copies wait for each other."""
        self._since.pop(job_id, None)
        self._disturbed.discard(job_id)
        count = self.resubmissions[title] = self.resubmissions.get(title, 0) + 1
        if count > self.max_resubmissions:
            return Verdict.FAILED, (
                f"{title}: job {job_id} {why}, more often than max_requeues ({self.max_resubmissions}) of the site "
                "file allows. "
            )
        with contextlib.suppress(SlurmError):
            queue.slurm("scancel", job_id)  # where Slurm would start it again as well, there would be two of it
        return Verdict.AGAIN, (
            f"{title}: job {job_id} {why} and is submitted again, {count} of at most "
            f"{self.max_resubmissions} times; that does not count as a failure"
        )


def cancel(job_ids: Iterable[str], seconds: float) -> str | None:
    """scancel jobs, and again until the controller answers; after `seconds` returns why it could not be done."""
    ids, deadline = sorted(set(job_ids)), time.monotonic() + seconds
    while ids:
        try:
            queue.slurm("scancel", *ids)
            return None
        except SlurmError as error:
            if "Invalid job id" in str(error):
                return None
            if time.monotonic() > deadline:
                return f"{error}: end them with `scancel {' '.join(ids)}` once it answers"
            time.sleep(1.0)
    return None
