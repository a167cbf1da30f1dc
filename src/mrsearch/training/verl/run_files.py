"""What a training with verl reads and keeps in its folder."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrsearch.files import read_json, write_json, write_text
from mrsearch.seal import damage
from mrsearch.training.validation import gain, mean_score

log = logging.getLogger(__name__)
PREFIX = "global_step_"


@dataclass(frozen=True)
class RunFiles:
    """Paths below the folder of one training, which all nodes see."""

    folder: Path

    @property
    def run(self) -> Path:
        """The training itself, for the processes that verl starts."""
        return self.folder / "training.json"

    @property
    def config(self) -> Path:
        """verl's whole configuration."""
        return self.folder / "verl.yaml"

    @property
    def train(self) -> Path:
        """Parquet file of the training questions."""
        return self.folder / "train.parquet"

    @property
    def validation(self) -> Path:
        """Parquet file of the validation questions."""
        return self.folder / "validation.parquet"

    @property
    def agent_loops(self) -> Path:
        """verl's agent loop file."""
        return self.folder / "agent_loops.yaml"

    @property
    def plan(self) -> Path:
        """Parquet file of the order in which demonstrations are trained on."""
        return self.folder / "plan.parquet"

    @property
    def checkpoints(self) -> Path:
        """verl's folder of checkpoints."""
        return self.folder / "checkpoints"

    @property
    def best(self) -> Path:
        """Step, mean and scores by question of the best validation."""
        return self.folder / "best.json"

    @property
    def ended(self) -> Path:
        """How the trainer ended: step and reason."""
        return self.folder / "ended.json"

    @property
    def stop(self) -> Path:
        """While it exists, the trainer ends after the step that is under way, with a checkpoint."""
        return self.folder / "stop-requested"

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

    @property
    def rowless(self) -> Path:
        """Folder of what meta-episodes took that made no row for verl."""
        return self.folder / "without-rows"

    @property
    def mark(self) -> Path:
        """Where verl notes the step of its newest checkpoint, and reads from which one to go on."""
        return self.checkpoints / "latest_checkpointed_iteration.txt"

    def last(self) -> int | None:
        """Step of the newest finished checkpoint by verl's mark; None where there is none."""
        try:
            return int(self.mark.read_text())
        except (FileNotFoundError, ValueError):
            return None

    def steps(self) -> list[int]:
        """Steps of all checkpoints, in their order."""
        names = [folder.name.removeprefix(PREFIX) for folder in self.checkpoints.glob(f"{PREFIX}*")]
        return sorted(int(name) for name in names if name.isdecimal())

    def recover(self) -> int | None:
        """Step of the newest whole checkpoint, from which verl then goes on; None where there is none.

        Newer ones that a crash of the machine or a full disk damaged are named in a warning and removed. Called while
        no trainer runs.
        """
        marked = self.last()
        for step in reversed(self.steps()):
            if marked is not None and step > marked:
                continue  # cut short by an interruption
            if (reason := damage(self.checkpoint(step))) is None:
                if step != marked:
                    write_text(self.mark, str(step))
                return step
            log.warning("%s: the checkpoint is damaged and is removed; an older one is used, or none", reason)
            shutil.rmtree(self.checkpoint(step))
        self.mark.unlink(missing_ok=True)
        return None

    def exported(self, export: str) -> int:
        """Step of the checkpoint that becomes the trained model; FileNotFoundError where there is none."""
        best = read_json(self.best) if export == "best" else None
        if best and (reason := damage(self.checkpoint(best["step"]))) is None:
            return int(best["step"])
        if best:
            log.warning("%s: the best checkpoint is damaged: the last one becomes the model", reason)
        step = self.last()
        if step is None or damage(self.checkpoint(step)) is not None:
            raise FileNotFoundError(f"{self.checkpoints}: holds no whole checkpoint")
        return step

    def note_validation(self, step: int, scores: Mapping[str, float]) -> tuple[float, float] | None:
        """Remember the best validation, by the score of each question. Returns the interval of its gain over the best
        before it, None where there is none yet: it becomes the best where the interval lies above 0."""
        before = read_json(self.best)
        interval = None
        if before is not None and before["step"] != step and "scores" in before:
            interval = gain(scores, before["scores"])
        if interval is None or interval[0] > 0:
            write_json(self.best, {"step": step, "reward": mean_score(scores), "scores": dict(scores)})
        return interval

    def prune(self, newest: int, keep_best: bool) -> list[int]:
        """Remove all checkpoints but the newest `newest` and the best; returns the steps removed.

        A folder newer than the newest whole checkpoint was cut short by an interruption and goes as well.
        """
        last = self.last()
        steps = self.steps()
        complete = [step for step in steps if last is not None and step <= last]
        stays = set(complete[-newest:])
        best: Any = read_json(self.best) if keep_best else None
        if best:
            stays.add(best["step"])
        removed = [step for step in steps if step not in stays]
        for step in removed:
            shutil.rmtree(self.checkpoint(step))
        return removed
