"""When a checkpoint is due by time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class SaveClock:
    """Runs from the start of a training, and anew from each of its checkpoints."""

    minutes: float | None
    """Longest time without a checkpoint, to the next step's end; None never asks for one."""
    now: Callable[[], float] = time.monotonic
    saved_at: float = 0.0

    def __post_init__(self) -> None:
        self.saved()

    def saved(self) -> None:
        """A checkpoint has just been written."""
        self.saved_at = self.now()

    def due(self) -> bool:
        """Whether the last checkpoint is old enough for another one."""
        return self.minutes is not None and self.now() - self.saved_at >= 60 * self.minutes
