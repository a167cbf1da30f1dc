"""The figures of a study, from `metrics.parquet` and the training logs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mrsearch.config import Study
from mrsearch.reporting.contents import computed, figures
from mrsearch.reporting.figures import style
from mrsearch.reporting.figures.changes import corrected_and_corrupted
from mrsearch.reporting.figures.episodes import em_by_episode
from mrsearch.reporting.figures.experiment import differences_by_knob
from mrsearch.reporting.figures.improvement import relative_improvement
from mrsearch.reporting.figures.pareto import accuracy_against_tokens
from mrsearch.reporting.figures.scaling import scaling_curves
from mrsearch.reporting.figures.sweep import sweep_by_value
from mrsearch.reporting.figures.training import training_curves
from mrsearch.reporting.frame import Metrics

DRAWN: dict[str, Callable[[Metrics, Path], None]] = {
    "improvement": relative_improvement,
    "episodes": em_by_episode,
    "changes": corrected_and_corrupted,
    "pareto": accuracy_against_tokens,
    "scaling": scaling_curves,
    "sweep": sweep_by_value,
    "experiment": differences_by_knob,
}
"""The figure of training curves is drawn from training logs."""


def write_figures(study: Study, metrics: Path, models_dir: Path, out: Path) -> None:
    """Draw every figure of `contents.figures` but the measured ones, with its data as CSV; the same inputs give the
    same bytes.

    `models_dir` holds the folders of all trainings, for their logs.
    """
    rows = Metrics(study, metrics)
    with style.styled():
        for name in computed(figures(study)):
            if name == "training":
                training_curves(study, models_dir, out)
            else:
                DRAWN[name](rows, out)
