"""The training log: one JSON row per step, kept in step with the checkpoints."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


class StepLog:
    """Appends rows to `run_dir/train.jsonl`; `publish` copies them to their declared place once training ended."""

    def __init__(
        self, run_dir: Path, title: str, total: int, listener: Callable[[dict[str, Any]], None] | None = None
    ) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        self.path, self.title, self.total, self.listener = run_dir / "train.jsonl", title, total, listener

    def resume_at(self, step: int) -> None:
        """Drop rows of steps that will be run again."""
        rows = [row for row in self.rows() if row["step"] < step]
        part = self.path.with_suffix(".part")
        part.write_text("".join(json.dumps(row) + "\n" for row in rows))
        part.replace(self.path)

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
        log.info("%s step %d/%d %s", self.title, row["step"] + 1, self.total, brief(row))
        if self.listener:
            self.listener(row)

    def publish(self, out: Path) -> None:
        """Copy the log to `out`, atomically."""
        out.parent.mkdir(parents=True, exist_ok=True)
        part = out.with_name(out.name + ".part")
        shutil.copyfile(self.path, part)
        part.replace(out)


def brief(row: dict[str, Any]) -> str:
    """One line that shows a row's values."""

    def show(value: Any) -> str:
        if isinstance(value, list):
            return "/".join(show(item) for item in value)
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    return " ".join(f"{key} {show(value)}" for key, value in row.items() if key != "step")
