"""What an experiment's method gains over its rivals, over each knob."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from mrsearch.reporting.figures import style
from mrsearch.reporting.frame import Metrics, method_label
from mrsearch.reporting.tables.knob_points import knob_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 0.5
"""Between two values, the part over which the rivals' intervals are spread."""
COLUMNS = 3
"""Panels in a row."""
LABEL = 36
"""Characters in a line below a panel."""


def differences_by_knob(metrics: Metrics, out: Path) -> None:
    """Draw differences in EM with their intervals by value, under the report's decoding: a panel per knob and model."""
    import matplotlib.pyplot as plt

    study, data = metrics.study, _data(metrics)
    experiment = study.report.experiment
    assert experiment is not None, "only studies with an experiment have this figure"
    panels = [(model, knob) for model in study.models for knob in experiment.knobs]
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    legend = 0.15 * -(-len(experiment.against) // 2)
    figure, grid = plt.subplots(
        rows, columns, figsize=(style.PAGE, 0.3 + 2.0 * rows + legend), sharey=True, squeeze=False
    )
    for axes, (model, knob) in zip(grid.flat, panels, strict=False):
        label = experiment.knobs[knob].label
        _panel(axes, data[(data.model == model) & (data.knob == knob)], metrics)
        axes.set_xlabel(textwrap.fill(f"{label} ({model})" if len(study.models) > 1 else label, LABEL))
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("Difference in EM (points)")
    style.legend_below(figure)
    style.save(figure, data, out, "experiment")


def _panel(axes: Axes, data: pd.DataFrame, metrics: Metrics) -> None:
    experiment = metrics.study.report.experiment
    assert experiment is not None
    values = list(data.setting.unique())
    count = len(experiment.against)
    for index, rival in enumerate(experiment.against):
        of_rival = data[data.against == rival]
        x = [values.index(value) + WIDTH * ((index + 0.5) / count - 0.5) for value in of_rival.setting]
        below, above = of_rival.difference - of_rival.low, of_rival.high - of_rival.difference
        color, marker = style.COLORS[index % len(style.COLORS)], style.MARKERS[index % len(style.MARKERS)]
        label = f"{method_label(metrics.study, experiment.method)} minus {method_label(metrics.study, rival)}"
        ends = [below, above]
        axes.errorbar(x, of_rival.difference, ends, fmt="none", ecolor=color, elinewidth=0.8, capsize=1.5)
        axes.plot(x, of_rival.difference, linestyle="none", color=color, marker=marker, label=label)
    axes.axhline(0, color="#222222", linewidth=0.8)
    axes.set_xticks(range(len(values)), values)
    axes.set_xlim(-0.5, len(values) - 0.5)
    axes.grid(axis="x", visible=False)


def _data(metrics: Metrics) -> pd.DataFrame:
    """A row per model, knob, value and rival: difference and ends of its interval in points."""
    experiment, decoding = metrics.study.report.experiment, metrics.study.report.decoding
    assert experiment is not None
    return pd.DataFrame(
        {
            "model": model,
            "knob": point.knob,
            "setting": point.value,
            "against": rival,
            "difference": 100 * point.difference.value,
            "low": 100 * point.difference.low,
            "high": 100 * point.difference.high,
            "p_holm": point.significance.corrected,
        }
        for model in metrics.study.models
        for rival in experiment.against
        for point in knob_points(metrics, model, decoding, rival)
    )
