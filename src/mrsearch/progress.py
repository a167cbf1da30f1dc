"""Progress with rate and time left: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)
LOG_EVERY_SECONDS = 30.0


class Meter:
    """Counts items done in this run and before it."""

    def __init__(self, label: str, total: int, done: int = 0) -> None:
        self._label, self._total, self._done, self._before = label, total, done, done
        self.note = ""
        """Shown behind the numbers."""
        self._begun = self._logged = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:,.0f}/s"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task(label, total=total, completed=done, rate=0.0, note="")

    def __enter__(self) -> Meter:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, demonstration: TracebackType | None
    ) -> None:
        self._bar.stop()

    def skip(self, count: int) -> None:
        """Another `count` items were done before this run."""
        self._done, self._before = self._done + count, self._before + count
        self._bar.update(self._task, advance=count)

    def advance(self, count: int) -> None:
        """Another `count` items are done."""
        self._done += count
        now = time.monotonic()
        rate = (self._done - self._before) / max(now - self._begun, 1e-9)
        self._bar.update(self._task, advance=count, rate=rate, note=self.note)
        if now - self._logged > LOG_EVERY_SECONDS or self._done == self._total:
            self._logged = now
            seconds_left = (self._total - self._done) / rate
            line = "%s: %d of %d, %.3g/s, %.0f s left%s"
            note = f", {self.note}" if self.note else ""
            log.info(line, self._label, self._done, self._total, rate, seconds_left, note)
