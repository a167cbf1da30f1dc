"""Inside a command: stop at a step when the job asks for it, all ranks at the same one."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from mrsearch.durable import create_exclusively

ATTEMPT, RANK, WORLD = "MRSEARCH_ATTEMPT", "MRSEARCH_RANK", "MRSEARCH_WORLD"
"""Environment that a task gives its command: which attempt of the job this is, and which of how many tasks."""
SCRATCH = "MRSEARCH_SCRATCH"
"""Environment that names the site's folder for sockets and logs on a node's own disk."""
STOPPED = 75
"""Exit status of a command that stopped because it was asked to (EX_TEMPFAIL of sysexits.h)."""


@dataclass
class StopRequest:
    """SIGUSR2 asks a command to stop at its next step, with a checkpoint.

    Ranks must work in lockstep: none is more than one step ahead of another, as collective operations see to. The rank
    that is asked first names the last step, in a file that all see; every rank stops after that one.
    """

    folder: Path
    """Shared by all ranks."""
    attempt: str = field(default_factory=lambda: os.environ.get(ATTEMPT, f"local-{os.getpid()}"))
    world: int = field(default_factory=lambda: int(os.environ.get(WORLD, "1")))
    requested: bool = False

    def listen(self) -> StopRequest:
        """Begin to take SIGUSR2; only the main thread can, others leave it as it is."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGUSR2, self._ask)
        return self

    def after(self, step: int) -> bool:
        """Whether this rank stops now that it has finished `step`."""
        if self.world == 1:
            return self.requested
        agreed = self._agreed()
        if agreed is None and self.requested:
            agreed = self._propose(step + 1)  # another rank may be in the next step already, waiting for this one
        return agreed is not None and step >= agreed

    def _ask(self, signum: int, _: FrameType | None) -> None:
        self.requested = True

    @property
    def _file(self) -> Path:
        return self.folder / f"stop-after-{self.attempt}"

    def _agreed(self) -> int | None:
        try:
            return int(self._file.read_text())
        except (FileNotFoundError, ValueError):
            return None

    def _propose(self, step: int) -> int:
        """The first proposal holds; a hard link makes it appear whole, and once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.folder / f".{self._file.name}.{os.uname().nodename}.{os.getpid()}.{secrets.token_hex(8)}"
        with os.fdopen(create_exclusively(draft), "w") as file:
            file.write(str(step))
        try:
            os.link(draft, self._file)
        except FileExistsError:
            return int(self._file.read_text())
        finally:
            draft.unlink()
        return step


class Stopped(SystemExit):
    """The command stops because it was asked to; a later attempt goes on from the checkpoint."""

    def __init__(self) -> None:
        super().__init__(STOPPED)


@contextlib.contextmanager
def stop_file(path: Path) -> Iterator[None]:
    """While the block runs, SIGUSR2 makes the file, for trainers in other processes to look for; an earlier request's
    goes first. Only the main thread can take the signal, others leave it as it is."""
    path.unlink(missing_ok=True)
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGUSR2, lambda *_: path.touch())
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR2, before)
