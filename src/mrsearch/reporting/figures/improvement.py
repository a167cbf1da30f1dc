"""Relative improvement over the baseline, benchmark by benchmark."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mrsearch.evaluation.choices import HEADLINE
from mrsearch.reporting.figures import style
from mrsearch.reporting.frame import Metrics, benchmark_label, learned, method_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

USUAL_WIDTHS = 3.0
"""The axis reaches as far as this many times the middle interval's half width; a wider one ends in an arrow."""
LINEAR = 100.0
"""Percent; nothing is worse than minus as much."""
SQUEEZED = 5.0
"""An axis longer than this many times three quarters of the improvements is not linear to its end."""


def relative_improvement(metrics: Metrics, out: Path) -> None:
    """Draw, per model, each learned method's improvement in EM of the last valid answer, with its interval."""
    import matplotlib.pyplot as plt

    study, decoding = metrics.study, metrics.study.report.decoding
    methods = [name for name in learned(study) or study.methods if name != study.report.baseline]
    data = _data(metrics, methods, decoding)
    looks = style.look(study)
    height = 0.75 + max(0.6, len(metrics.columns) * max(0.17, 0.095 * max(1, len(methods))))
    figure, panels = plt.subplots(
        1, len(study.models), figsize=(style.COLUMN * len(study.models), height), sharey=True, squeeze=False
    )
    for axes, model in zip(panels[0], study.models, strict=True):
        _panel(metrics, axes, data[data.model == model], methods, looks)
        if len(study.models) > 1:
            axes.set_title(model)
    panels[0, 0].set_yticks(range(len(metrics.columns)), [benchmark_label(study, name) for name in metrics.columns])
    panels[0, 0].set_ylim(len(metrics.columns) - 0.45, -0.55)
    figure.supxlabel(f"Relative improvement over {method_label(study, study.report.baseline)} (%)", fontsize=7)
    style.legend_outside(figure, "outside upper left", None, ncols=1 if len(methods) < 4 else 2)
    style.save(figure, data, out, "improvement")


def _data(metrics: Metrics, methods: list[str], decoding: str) -> pd.DataFrame:
    study = metrics.study
    listed: list[dict[str, Any]] = []
    for model in study.models:
        for method in methods:
            for name in metrics.columns:
                cell = metrics.at(model, decoding, method, name, "em_relative", HEADLINE, study.report.baseline)
                keys = {"model": model, "decoding": decoding, "method": method, "benchmark": name}
                listed.append({**keys, "value": cell.value, "low": cell.low, "high": cell.high, "n": int(cell.n)})
    columns = ["model", "decoding", "method", "benchmark", "value", "low", "high", "n"]
    return pd.DataFrame(listed, columns=columns).astype(dict.fromkeys(("value", "low", "high"), float))


def _panel(
    metrics: Metrics, axes: Axes, data: pd.DataFrame, methods: list[str], looks: dict[str, dict[str, Any]]
) -> None:
    """One model: a dot and an interval per method and benchmark; what runs off the axis ends in an arrow."""
    percent_K3 = data[["value", "low", "high"]].to_numpy() * 100
    low_end, right = _limits(percent_K3)
    axes.set_xlim(low_end, right)
    shorten(axes, percent_K3[:, 0], right)
    low_end, right = axes.get_xlim()
    axes.axvline(0.0, color="#555555", linewidth=0.8)
    average = len(metrics.columns) - 1
    axes.axhspan(average - 0.5, average + 0.5, color="#F2F2F2", zorder=0)
    axes.grid(axis="y", visible=False)
    for row, name in enumerate(metrics.columns):
        if methods and not np.isfinite(data[data.benchmark == name].value).any():
            axes.text(0.03 * right, row, "undefined: the baseline is never right", va="center", color="#555555")
    step = 0.8 / max(1, len(methods))
    for index, method in enumerate(methods):
        of_method = data[data.method == method]
        look = {**looks[method], "linestyle": "none"}
        axes.plot([], [], label=method_label(metrics.study, method), **look)
        for row, name in enumerate(metrics.columns):
            y = row + (index - (len(methods) - 1) / 2) * step
            cell = of_method[of_method.benchmark == name].iloc[0]
            value, low, high = (float(cell[key]) * 100 for key in ("value", "low", "high"))
            if not math.isnan(value):
                _interval(axes, y, max(low, low_end), min(high, right), look["color"], (low < low_end, high > right))
                axes.plot([value], [y], **look)


def _interval(axes: Axes, y: float, low: float, high: float, color: str, arrows: tuple[bool, bool]) -> None:
    """The line of an interval; an arrow at the end of the axis where it goes on."""
    axes.plot([low, high], [y, y], color=color, linewidth=1.0)
    for end, marker, goes_on in zip((low, high), ("<", ">"), arrows, strict=True):
        if goes_on:
            axes.plot([end], [y], marker=marker, color=color, markersize=3, clip_on=False)


def shorten(axes: Axes, percent_K: np.ndarray, right: float) -> None:
    """Make the x axis, which ends at `right` percent, logarithmic beyond 100 % where a few of K improvements, over next
    to nothing, would squeeze all others together."""
    most = float(np.nanquantile(np.abs(percent_K), 0.75)) if np.isfinite(percent_K).any() else 0.0
    if right <= max(LINEAR, SQUEEZED * most):
        return
    from matplotlib.ticker import FixedLocator, NullLocator

    axes.set_xlim(right=1.3 * right)
    axes.set_xscale("symlog", linthresh=LINEAR, linscale=1.3)
    beyond = [step * 10**power for power in range(2, math.ceil(math.log10(right))) for step in (3, 10)]
    axes.xaxis.set_major_locator(FixedLocator([-LINEAR, -LINEAR / 2, 0.0, LINEAR / 2, LINEAR, *beyond]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "\N{MINUS SIGN}"))


def _limits(percent_K3: np.ndarray) -> tuple[float, float]:
    """Ends of the axis for rows of value, low and high: every value fits, and of the intervals those that are not far
    wider than the middle one."""
    value, low, high = np.where(np.isfinite(percent_K3), percent_K3, np.nan).reshape(-1, 3).T
    if not np.isfinite(value).any():
        return -0.1, 1.0
    below, above = np.nanmax([value - low, np.zeros_like(value)], 0), np.nanmax([high - value, np.zeros_like(value)], 0)
    usual = max(USUAL_WIDTHS * float(np.nanmedian(below + above)) / 2, 1.0)
    right = np.nanmax(value + np.minimum(above, usual), initial=1.0)
    low_end = np.nanmin(value - np.minimum(below, usual), initial=0.0)
    room = 0.06 * (right - low_end)
    return float(low_end - room), float(right + room)
