"""The files of a managed server, all beside its endpoint file."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from pathlib import Path

from mrsearch.files import locked


class ServiceFiles:
    """Paths that belong to one endpoint file. It is the DAG's; nothing else is declared as an output."""

    def __init__(self, endpoint_file: Path) -> None:
        self.endpoint_file = endpoint_file.absolute()
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
        self._renewal: tuple[int, float] | None = None

    def leased(self, seconds: float) -> bool:
        """Whether the lease exists and this object has seen it renewed within the last `seconds`; its first look
        counts as a renewal.

        Time is measured by a clock that cannot jump; the file's own time, that of this machine or of a file server, is
        only looked at for change.
        """
        try:
            changed = self.lease.stat().st_mtime_ns
        except FileNotFoundError:
            return False
        now = time.monotonic()
        if self._renewal is None or self._renewal[0] != changed:
            self._renewal = changed, now
        return now - self._renewal[1] < seconds

    def renew(self) -> None:
        """Make the lease, or make it young again."""
        self.lease.parent.mkdir(parents=True, exist_ok=True)
        self.lease.touch()

    def remove(self) -> None:
        """Remove everything but the log."""
        for path in (self.endpoint_file, self.lease, self.live, self.state, self.spec):
            path.unlink(missing_ok=True)

    def locked(self) -> AbstractContextManager[bool]:
        """One starter or stopper at a time."""
        return locked(self._beside("lock"))

    def _beside(self, suffix: str) -> Path:
        return self.endpoint_file.with_name(f"{self.endpoint_file.name}.{suffix}")
