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
        self._begun = self._logged = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:,.0f}/s"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task(label, total=total, completed=done, rate=0.0)

    def __enter__(self) -> Meter:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, demonstration: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self, count: int) -> None:
        """Another `count` items are done."""
        self._done += count
        now = time.monotonic()
        rate = (self._done - self._before) / max(now - self._begun, 1e-9)
        self._bar.update(self._task, advance=count, rate=rate)
        if now - self._logged > LOG_EVERY_SECONDS or self._done == self._total:
            self._logged = now
            seconds_left = (self._total - self._done) / rate
            log.info("%s: %d of %d, %.0f/s, %.0f s left", self._label, self._done, self._total, rate, seconds_left)
