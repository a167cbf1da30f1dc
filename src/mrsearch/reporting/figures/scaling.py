"""Test-time scaling: EM by number of episodes, and by the tokens that they cost."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mrsearch.reporting.figures import style
from mrsearch.reporting.frame import Metrics, method_label
from mrsearch.reporting.tables.scaling import points, scaled, stops_early

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AXES = (("episodes", "Episodes"), ("generated_tokens", "Generated tokens"))


def scaling_curves(metrics: Metrics, out: Path) -> None:
    """Draw mean EM against episodes (left) and against generated tokens (right, each tick twice the one before), a row
    per model and decoding.

    A method that stops early is one point, at the episodes and tokens that it took on average.
    """
    import matplotlib.pyplot as plt

    study = metrics.study
    data = _data(metrics)
    looks = style.look(study)
    keys = [(model, decoding) for decoding in metrics.decodings for model in study.models]
    legend = 0.15 * math.ceil(len(scaled(study)) / 2)
    figure, panels = plt.subplots(
        len(keys), 2, figsize=(style.PAGE, 0.4 + 2.1 * len(keys) + legend), sharey=True, squeeze=False
    )
    for (model, decoding), row in zip(keys, panels, strict=True):
        of_panel = data[(data.model == model) & (data.decoding == decoding)]
        for axes, (key, name) in zip(row, AXES, strict=True):
            _panel(metrics, axes, of_panel, key, looks)
            axes.set_xlabel(name)
            _scale(axes, key)
        row[0].set_ylabel("Mean EM (%)")
        if len(keys) > 1:
            row[0].set_title(f"{model}, {decoding}")
    low, high = data.low.fillna(data.em).min() * 100, data.high.fillna(data.em).max() * 100
    panels[0][0].set_ylim(max(0.0, low - 3), min(102.0, high + 3))
    style.legend_below(figure)
    style.save(figure, data, out, "scaling")


def _data(metrics: Metrics) -> pd.DataFrame:
    """A row per method and number of episodes; one row, of their mean, where a method stops early."""
    listed: list[dict[str, Any]] = []
    for decoding in metrics.decodings:
        for model in metrics.study.models:
            for method in scaled(metrics.study):
                curve = points(metrics, model, decoding, method)
                early = stops_early(metrics.study, method)
                ran = metrics.at(model, decoding, method, "average", "episodes_run", "all").value
                for point in curve[-1:] if early else curve:
                    row: dict[str, Any] = {"model": model, "decoding": decoding, "method": method}
                    row |= {"episodes": ran if early else float(point.episodes), "stops_early": early}
                    row |= {"generated_tokens": point.generated_tokens, "searches": point.searches}
                    listed.append({**row, "em": point.em.value, "low": point.em.low, "high": point.em.high})
    return pd.DataFrame(listed)


def _scale(axes: Axes, key: str) -> None:
    """Whole episodes, from 0; tokens by doublings, since parallel samples cost many times what a sequence costs."""
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    if key == "episodes":
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(ScalarFormatter())


def _panel(metrics: Metrics, axes: Axes, data: pd.DataFrame, key: str, looks: dict[str, dict[str, Any]]) -> None:
    for method in scaled(metrics.study):
        of_method = data[data.method == method]
        em, low, high = (of_method[name] * 100 for name in ("em", "low", "high"))
        label, look = method_label(metrics.study, method), looks[method]
        if bool(of_method.stops_early.iloc[0]):
            error = [em - low, high - em]
            axes.errorbar(
                of_method[key], em, error, label=label, elinewidth=0.8, **{**look, "linestyle": "none"}, zorder=3
            )
        else:
            axes.plot(of_method[key], em, label=label, **look)
            axes.fill_between(of_method[key], low, high, color=look["color"], alpha=0.08, linewidth=0)
