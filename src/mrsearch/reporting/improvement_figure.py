"""Relative improvement over the baseline, benchmark by benchmark."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mrsearch.reporting import style
from mrsearch.reporting.frame import HEADLINE, Metrics, benchmark_label, learned, method_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def relative_improvement(rows: Metrics, out: Path) -> None:
    """Draw, per model, each learned method's improvement in EM of the last valid answer, with its interval."""
    import matplotlib.pyplot as plt

    study, decoding = rows.study, rows.study.report.decoding
    methods = [name for name in learned(study) or study.methods if name != study.report.baseline]
    data = _data(rows, methods, decoding)
    looks = style.look(study)
    height = 0.75 + len(rows.columns) * max(0.17, 0.095 * max(1, len(methods)))
    figure, panels = plt.subplots(
        1, len(study.models), figsize=(style.COLUMN * len(study.models), height), sharey=True, squeeze=False
    )
    for axes, model in zip(panels[0], study.models, strict=True):
        _panel(rows, axes, data[data.model == model], methods, looks)
        if len(study.models) > 1:
            axes.set_title(model)
    panels[0, 0].set_yticks(range(len(rows.columns)), [benchmark_label(study, name) for name in rows.columns])
    panels[0, 0].set_ylim(len(rows.columns) - 0.45, -0.55)
    figure.supxlabel(f"Relative improvement over {method_label(study, study.report.baseline)} (%)", fontsize=7)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=1 if len(methods) < 4 else 2)
    style.save(figure, data, out, "improvement")


def _data(rows: Metrics, methods: list[str], decoding: str) -> pd.DataFrame:
    study = rows.study
    listed: list[dict[str, Any]] = []
    for model in study.models:
        for method in methods:
            for name in rows.columns:
                cell = rows.at(model, decoding, method, name, "em_relative", HEADLINE, study.report.baseline)
                place = {"model": model, "decoding": decoding, "method": method, "benchmark": name}
                listed.append({**place, "value": cell.value, "low": cell.low, "high": cell.high, "n": int(cell.n)})
    columns = ["model", "decoding", "method", "benchmark", "value", "low", "high", "n"]
    return pd.DataFrame(listed, columns=columns).astype(dict.fromkeys(("value", "low", "high"), float))


def _panel(rows: Metrics, axes: Axes, data: pd.DataFrame, methods: list[str], looks: dict[str, dict[str, Any]]) -> None:
    """One model: a dot and an interval per method and benchmark; what runs off the axis ends in an arrow."""
    shown = data[["value", "low", "high"]].to_numpy() * 100
    right = _limit(shown)
    left = min(0.0, float(np.nanmin(shown, initial=0.0))) - 0.06 * right
    axes.set_xlim(left, right * 1.08)
    axes.axvline(0.0, color="#555555", linewidth=0.8)
    average = len(rows.columns) - 1
    axes.axhspan(average - 0.5, average + 0.5, color="#F2F2F2", zorder=0)
    axes.grid(axis="y", visible=False)
    for place, name in enumerate(rows.columns):
        if methods and not np.isfinite(data[data.benchmark == name].value).any():
            axes.text(0.03 * right, place, "undefined: the baseline is never right", va="center", color="#555555")
    step = 0.8 / max(1, len(methods))
    for index, method in enumerate(methods):
        of_method = data[data.method == method]
        look = {**looks[method], "linestyle": "none"}
        axes.plot([], [], label=method_label(rows.study, method), **look)
        for place, name in enumerate(rows.columns):
            y = place + (index - (len(methods) - 1) / 2) * step
            row = of_method[of_method.benchmark == name].iloc[0]
            value, low, high = (float(row[key]) * 100 for key in ("value", "low", "high"))
            if math.isnan(value):
                continue
            axes.plot([low, min(high, right * 1.08)], [y, y], color=look["color"], linewidth=1.0)
            if high > right * 1.08:
                axes.plot([right * 1.07], [y], marker=">", color=look["color"], markersize=3, clip_on=False)
            if value <= right * 1.08:
                axes.plot([value], [y], **look)


def _limit(percent: np.ndarray) -> float:
    """Right end of the axis: every value fits, and intervals as far as three times the largest value."""
    finite = percent[np.isfinite(percent)]
    if finite.size == 0:
        return 1.0
    values = percent[:, 0][np.isfinite(percent[:, 0])]
    largest = max(float(values.max(initial=0.0)), 1.0)
    return min(max(float(finite.max()), 1.0), 3.0 * largest)
