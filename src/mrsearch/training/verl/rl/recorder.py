"""Where the trainer's metrics go: verl's own loggers, our training log and the tracker."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mrsearch.tracking import Tracker
from mrsearch.training.log import TrainingLog

log = logging.getLogger(__name__)
NAMES = {
    "actor/pg_clipfrac": "clip_fraction",
    "actor/ppo_kl": "kl",
    "actor/entropy": "entropy",
    "actor/entropy_loss": "entropy",
    "actor/grad_norm": "gradient_norm",
    "actor/lr": "learning_rate",
    "actor/displaced": "displaced",
    "timing_s/step": "seconds",
    "training/rollout_probs_diff_mean": "logprob_difference",
    "training/off_policy/trajectory_staleness_worst/mean": "staleness",
    "training/off_policy/trajectory_staleness_worst/max": "staleness_max",
}
"""verl's metrics under the local trainer's names."""


class Recorder:
    """Takes the place of verl's `Tracking` and passes everything on to it."""

    def __init__(self, inner: Any, steps: TrainingLog, tracker: Tracker) -> None:
        self._inner, self._steps, self._tracker = inner, steps, tracker

    def log(self, data: Mapping[str, Any], step: int) -> None:
        """One step's metrics; the row that the trainer made lies under "row" and is taken out."""
        metrics = dict(data)
        row = metrics.pop("row", None)
        self._inner.log(data=metrics, step=step)
        if row is None:
            return
        self._steps.add({"step": step - 1, **row, **translated(metrics)})
        self._tracker.log(step - 1, {**row, **numbers(metrics)})

    def table(self, step: int, name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """A table of the tracker; verl's own loggers have none."""
        self._tracker.table(step, name, columns, rows)

    def finish(self, exit_code: int = 0) -> None:
        """End both."""
        self._inner.finish(exit_code=exit_code)
        self._tracker.finish(failed=exit_code != 0)


def translated(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The part of verl's metrics that the training log holds, under the names of `NAMES`."""
    values = {name: metrics[metric] for metric, name in NAMES.items() if metric in metrics}
    return {name: float(value) for name, value in values.items()}


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The metrics that are finite numbers."""
    out = {}
    for name, value in metrics.items():
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if math.isfinite(number):
            out[name] = number
    return out
