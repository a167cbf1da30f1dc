"""The files of a managed server, all beside its token."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path


class ServiceFiles:
    """Paths that belong to one token. The token itself is the DAG's; nothing else is declared as an output."""

    def __init__(self, token: Path) -> None:
        self.token = token.absolute()
        self.live = self._beside("live")
        """Where the server is now; rewritten at every start."""
        self.lease = self._beside("lease")
        """The server ends when this is removed or grows old."""
        self.state = self._beside("state")
        """Job id and what the job serves."""
        self.spec = self._beside("spec")
        """What the server is to serve."""
        self.log = self._beside("log")
        """Output of supervisor and server."""

    def leased(self, seconds: float) -> bool:
        """Whether the lease exists and was renewed within the last `seconds`."""
        try:
            return time.time() - self.lease.stat().st_mtime < seconds
        except FileNotFoundError:
            return False

    def renew(self) -> None:
        """Make the lease, or make it young again."""
        self.lease.parent.mkdir(parents=True, exist_ok=True)
        self.lease.touch()

    def remove(self) -> None:
        """Remove everything but the log."""
        for path in (self.token, self.lease, self.live, self.state, self.spec):
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One starter or stopper at a time."""
        self.token.parent.mkdir(parents=True, exist_ok=True)
        with self._beside("lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _beside(self, suffix: str) -> Path:
        return self.token.with_name(f"{self.token.name}.{suffix}")
