"""The training log: one JSON row per step, kept in step with the checkpoints."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mrsearch.config.layout import TRAIN_LOG
from mrsearch.files import atomic_file, write_text

log = logging.getLogger(__name__)


class TrainingLog:
    """Appends rows to `run_dir/train.jsonl`; `publish` copies them to their declared place once training ended."""

    def __init__(
        self, run_dir: Path, title: str, total: int, listener: Callable[[dict[str, Any]], None] | None = None
    ) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        self.path, self.title, self.total, self.listener = run_dir / TRAIN_LOG, title, total, listener

    def resume_at(self, step: int) -> None:
        """Drop rows of steps that will be run again."""
        rows = [row for row in self.rows() if row["step"] < step]
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
        log.info("%s step %d/%d %s", self.title, row["step"] + 1, self.total, brief(row))
        if self.listener:
            self.listener(row)

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
