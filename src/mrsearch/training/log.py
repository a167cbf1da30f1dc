"""The training log: one JSON row per step, kept in step with the checkpoints."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mrsearch.config.layout import TRAIN_LOG
from mrsearch.files import atomic_file, write_text
from mrsearch.training.outlook import RECENT, Budget, outlook

log = logging.getLogger(__name__)


class TrainingLog:
    """Appends rows to `run_dir/train.jsonl`; `publish` copies them to their declared place once training ended."""

    def __init__(self, run_dir: Path, title: str, budget: Budget) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        self.path, self.title, self.budget = run_dir / TRAIN_LOG, title, budget
        self.listener: Callable[[dict[str, Any]], None] | None = None
        """Is handed every row that is added."""
        self._recent: deque[dict[str, Any]] = deque(maxlen=RECENT + 1)

    def resume_at(self, step: int) -> None:
        """Drop rows of steps that will be run again."""
        rows = [row for row in self.rows() if row["step"] < step]
        self._recent = deque(rows, maxlen=RECENT + 1)
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in rows))

    def rows(self) -> list[dict[str, Any]]:
        """Rows written so far; a last line cut short by an interruption is left out."""
        if not self.path.exists():
            return []
        rows = []
        for line in self.path.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
        return rows

    def add(self, row: dict[str, Any]) -> None:
        """Append a row, show it as a progress line and pass it to the listener."""
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())  # a row is as safe as the checkpoint that follows it
        self._recent.append(row)
        log.info("%s", self.line(list(self._recent)))
        if self.listener:
            self.listener(row)

    def line(self, rows: Sequence[dict[str, Any]]) -> str:
        """One line about the last of `rows`: its step, what is spent of the budget, the time left, and its values."""
        row = rows[-1]
        position = f"step {row['step'] + 1}/{self.budget.steps} ({outlook(rows, self.budget)})"
        return f"{self.title} {position} {brief(row)}"

    def publish(self, out: Path) -> None:
        """Copy the log to `out`, atomically."""
        with atomic_file(out) as draft:
            shutil.copyfile(self.path, draft)


def brief(row: dict[str, Any]) -> str:
    """One line that shows a row's values."""

    def show(value: Any) -> str:
        if isinstance(value, list):
            return "/".join(show(item) for item in value)
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    return " ".join(f"{key} {show(value)}" for key, value in row.items() if key != "step")
