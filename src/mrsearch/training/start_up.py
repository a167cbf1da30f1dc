"""What a training that starts many processes does until its first step, phase by phase, for whoever waits for it."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path

from mrsearch.files import write_text

log = logging.getLogger(__name__)
FILE = "start-up.jsonl"
FIRST_STEP = "first step"
"""The phase that ends a start."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the start that has ended."""

    name: str
    seconds: float
    """That it took."""
    since: float
    """Seconds from the beginning of the start to its end."""


class StartUp:
    """Phases of one start in a file of the run's folder, which the training's processes write one after the other."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def begin(self) -> None:
        """A new start; an earlier one is forgotten."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self._path, _line("begin"))

    def ended(self, name: str) -> None:
        """Note and log the end of a phase."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line(name))
        phase = self.phases()[-1]
        log.info("start: %s, %.0f s (%.0f s since the beginning)", name, phase.seconds, phase.since)

    def phases(self) -> list[Phase]:
        """Those that have ended so far; a line that is being written is none yet."""
        if not self._path.is_file():
            return []
        lines = self._path.read_text(encoding="utf-8").split("\n")[:-1]
        rows = [json.loads(line) for line in lines]
        times = [row["time"] for row in rows]
        return [
            Phase(row["phase"], row["time"] - before, row["time"] - times[0])
            for row, before in zip(rows[1:], times, strict=False)
        ]

    def described(self) -> str:
        """All phases with their seconds, in one line."""
        return ", ".join(f"{phase.name} {phase.seconds:.0f} s" for phase in self.phases())


def _line(phase: str) -> str:
    return json.dumps({"phase": phase, "time": time.time()}) + "\n"
