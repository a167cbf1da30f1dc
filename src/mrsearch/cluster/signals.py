"""Signals that ask a waiting command to end: as an exception, and never in the middle of a submission."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signalled(BaseException):
    """A signal asks this process to end."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class Interrupts:
    """The first signal becomes Signalled, at once or when `held` ends; later ones find the clean-up under way."""

    def __init__(self, signums: Sequence[signal.Signals] = ()) -> None:
        self._signums = signums
        self._came: int | None = None
        self._holding = False
        self._error: type[BaseException] = Signalled

    @property
    def came(self) -> bool:
        """Whether one came."""
        return self._came is not None

    def retake(self, error: type[BaseException]) -> None:
        """Take the signals again from a library that took them meanwhile, and raise what that library passes on."""
        self._error = error
        for signum in self._signums:
            signal.signal(signum, self.take)

    @contextlib.contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """What happens inside is done whole: a job is submitted and its id written down, or neither."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
            if self._came is not None:
                raise Signalled(self._came)

    def take(self, signum: int, _: FrameType | None) -> None:
        """The signals' handler."""
        if self._came is None:
            self._came = signum
            if not self._holding:
                raise self._error(signum)


@contextlib.contextmanager
def interrupts(*signums: signal.Signals) -> Iterator[Interrupts]:
    """Take these signals (default: all that end a command) while the block runs; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield Interrupts()
        return
    handler_state = Interrupts(signums or ENDING)
    before = {signum: signal.signal(signum, handler_state.take) for signum in signums or ENDING}
    try:
        yield handler_state
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
