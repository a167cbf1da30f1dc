"""What a training keeps in its folder beside verl's own checkpoints."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrsearch.files import read_json, write_json

log = logging.getLogger(__name__)
PREFIX = "global_step_"


@dataclass(frozen=True)
class RunFolder:
    """Paths of one training, which all nodes see."""

    root: Path

    @property
    def checkpoints(self) -> Path:
        """verl's folder of checkpoints."""
        return self.root / "checkpoints"

    @property
    def best(self) -> Path:
        """Step and reward of the best validation."""
        return self.root / "best.json"

    @property
    def ended(self) -> Path:
        """How the trainer ended: step and reason."""
        return self.root / "ended.json"

    @property
    def stop(self) -> Path:
        """While it exists, the trainer ends after the step that is under way, with a checkpoint."""
        return self.root / "stop-requested"

    def checkpoint(self, step: int) -> Path:
        """Folder of one checkpoint."""
        return self.checkpoints / f"{PREFIX}{step}"

    def counters(self, step: int) -> Path:
        """The trainer's counters at a checkpoint."""
        return self.checkpoint(step) / "counters.json"

    def row(self, step: int) -> Path:
        """The training log's row of the step that a checkpoint ends with."""
        return self.checkpoint(step) / "row.json"

    def probe(self, step: int) -> Path:
        """Log-probabilities of the policy that a checkpoint holds, on a few sequences."""
        return self.checkpoint(step) / "probe.json"

    def last(self) -> int | None:
        """Step of the newest whole checkpoint; None where there is none."""
        mark = self.checkpoints / "latest_checkpointed_iteration.txt"
        return int(mark.read_text()) if mark.is_file() else None

    def chosen(self, export: str) -> int:
        """Step of the checkpoint that becomes the trained model; FileNotFoundError where there is none."""
        best = read_json(self.best) if export == "best" else None
        step = best["step"] if best else self.last()
        if step is None or not self.checkpoint(step).is_dir():
            raise FileNotFoundError(f"{self.checkpoints}: holds no whole checkpoint")
        return int(step)

    def note_validation(self, step: int, reward: float) -> bool:
        """Remember the best validation; True where this one is it. The first of equal ones stays."""
        before = read_json(self.best)
        if before is not None and before["reward"] >= reward and before["step"] != step:
            return False
        write_json(self.best, {"step": step, "reward": reward})
        return True

    def prune(self, kept: int, keep_best: bool) -> list[int]:
        """Remove all checkpoints but the newest `kept` and the best; returns the steps removed.

        A folder newer than the newest whole checkpoint was cut short by an interruption and goes as well.
        """
        last = self.last()
        steps = sorted(int(folder.name.removeprefix(PREFIX)) for folder in self.checkpoints.glob(f"{PREFIX}*"))
        whole = [step for step in steps if last is not None and step <= last]
        stays = set(whole[-kept:])
        best: Any = read_json(self.best) if keep_best else None
        if best:
            stays.add(best["step"])
        removed = [step for step in steps if step not in stays]
        for step in removed:
            shutil.rmtree(self.checkpoint(step))
        return removed
