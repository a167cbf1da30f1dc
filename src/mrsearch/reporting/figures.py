"""The figures of a study, from `metrics.parquet` and the training logs."""

from __future__ import annotations

from pathlib import Path

from mrsearch.config import Study
from mrsearch.reporting import style
from mrsearch.reporting.change_figure import corrected_and_corrupted
from mrsearch.reporting.episode_figures import em_by_episode
from mrsearch.reporting.frame import Metrics
from mrsearch.reporting.improvement_figure import relative_improvement
from mrsearch.reporting.pareto_figure import accuracy_against_tokens
from mrsearch.reporting.scaling_figure import scaling_curves
from mrsearch.reporting.training_figure import training_curves


def write_figures(study: Study, metrics: Path, models_dir: Path, out: Path) -> None:
    """Write every figure as PDF, SVG and PNG, with its data as CSV; the same inputs give the same bytes.

    `models_dir` holds <model>/<method>/seed<k>/train.jsonl of each trained method.
    """
    rows = Metrics(study, metrics)
    with style.styled():
        training_curves(study, models_dir, out)
        relative_improvement(rows, out)
        em_by_episode(rows, out)
        corrected_and_corrupted(rows, out)
        accuracy_against_tokens(rows, out)
        if study.report.scaling:
            scaling_curves(rows, out)
