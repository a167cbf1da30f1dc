"""The files of one job, all in its folder, written so that a reader sees the old or the new content."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from mrsearch.files import locked


class JobFiles:
    """Paths below a job's folder, which all nodes of a cluster must see."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.task = self.folder / "task.json"
        """What the job runs."""
        self.state = self.folder / "state.json"
        """Which job was submitted last, and for which settings."""
        self.owner = self.folder / "owner.json"
        """Which attempt of which job may write at the moment."""
        self.exit = self.folder / "exit.json"
        """How the command ended; missing while it runs, or if it was interrupted."""

    @classmethod
    def beside(cls, log: Path) -> JobFiles:
        """The files of the job whose output goes to `log`."""
        return cls(log.with_suffix(".job"))

    def locked(self) -> AbstractContextManager[bool]:
        """One submitter at a time, whichever process or node it runs on."""
        return locked(self.folder / "lock")
