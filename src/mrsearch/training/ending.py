"""What a training says when a signal ends it."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Callable, Iterator

from mrsearch.cluster.signals import Interrupts, interrupts

log = logging.getLogger(__name__)


@contextlib.contextmanager
def told_of_its_end(title: str, last: Callable[[], int | None]) -> Iterator[Interrupts]:
    """A training that SIGTERM ends says so in its last line, below what other processes print of it, and from which
    checkpoint (`last`: its step, None where there is none) it will go on; the process then ends as one that the signal
    killed."""
    with interrupts(signal.SIGTERM) as signals:
        try:
            yield signals
        except BaseException:
            if not signals.came:
                raise
            step = last()
            again = f"its checkpoint of step {step}" if step is not None else "the beginning, for it has no checkpoint"
            log.error(
                "%s: ended by SIGTERM (cancelled, or out of time or notice): started again, it goes on from %s",
                *(title, again),
            )
            raise SystemExit(128 + signal.SIGTERM) from None
