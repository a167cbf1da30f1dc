"""What a job is to those who start one: a command that runs apart, with an id."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class Launcher(Protocol):
    """Starts commands somewhere and knows what became of them."""

    def submit(self, command: Sequence[str], name: str, log: Path) -> str:
        """Start the command with its output appended to `log`; returns the job's id."""
        ...

    def active(self, job_id: str) -> bool:
        """Whether the job waits or runs."""
        ...

    def queued(self, job_id: str) -> bool:
        """Whether the job still waits to be started."""
        ...

    def describe(self, job_id: str) -> str:
        """State of the job in the words of who runs it, such as "PENDING (Priority)"."""
        ...

    def owns(self, job_id: str, name: str, log: Path) -> bool:
        """Whether the id is that of the job which this user submitted with that name and log, and not of a later one
        that was given the same id, or of one that an edited file names; true while that cannot be asked."""
        ...

    def cancel(self, job_id: str) -> None:
        """End the job and wait until it is gone; nothing happens if it already is."""
        ...


class ManagedLauncher(Launcher, Protocol):
    """A launcher whose jobs record how they ended (`task.Task`), so that anybody can wait for them."""

    def find(self, name: str, log: Path) -> str | None:
        """An active job of this name and log that no state file mentions, because its submitter was killed."""
        ...

    def lost(self, job_id: str) -> bool:
        """Whether an ended job was ended from outside in a way that another submission mends."""
        ...

    @property
    def poll_seconds(self) -> float:
        """Time between two questions about a job."""
        ...

    @property
    def max_submissions(self) -> int:
        """How often one run may be submitted before it is given up."""
        ...
