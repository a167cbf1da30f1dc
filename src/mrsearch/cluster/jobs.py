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

    def cancel(self, job_id: str) -> None:
        """End the job and wait until it is gone; nothing happens if it already is."""
        ...
