"""EM by episode."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mrsearch.reporting import style
from mrsearch.reporting.frame import Metrics, learned, method_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def em_by_episode(rows: Metrics, out: Path) -> None:
    """Draw the mean EM of each episode, a panel per model and decoding; methods of one episode are level lines."""
    study = rows.study
    chosen = [name for name in study.methods if study.methods[name].episodes > 1 or name in learned(study)]
    methods = chosen or list(study.methods)
    data = _data(rows, methods)
    looks = style.look(study)
    figure, panels = style.grid(rows, "Episode", "Mean EM (%)", math.ceil(len(methods) / 2))
    panels[0][0].set_ylim(0, min(102.0, max(10.0, float(data.high.max()) * 100 + 4)))
    for axes, model, decoding in panels:
        _panel(rows, axes, data[(data.model == model) & (data.decoding == decoding)], methods, looks)
    style.legend_below(figure)
    style.save(figure, data, out, "episodes")


def _data(rows: Metrics, methods: list[str]) -> pd.DataFrame:
    listed: list[dict[str, Any]] = []
    for model in rows.study.models:
        for decoding in rows.decodings:
            for method in methods:
                for episode in range(1, rows.study.methods[method].episodes + 1):
                    cell = rows.at(model, decoding, method, "average", "em", str(episode))
                    place = {"model": model, "decoding": decoding, "method": method, "episode": episode}
                    listed.append({**place, "em": cell.value, "low": cell.low, "high": cell.high, "n": int(cell.n)})
    return pd.DataFrame(listed)


def _panel(rows: Metrics, axes: Axes, data: pd.DataFrame, methods: list[str], looks: dict[str, dict[str, Any]]) -> None:
    study = rows.study
    last = max(study.methods[method].episodes for method in methods)
    for index, method in enumerate(methods):
        of_method = data[data.method == method]
        label, look = method_label(study, method), looks[method]
        if len(of_method) == 1:
            level = of_method.em.iloc[0] * 100
            axes.plot([1, last], [level, level], label=label, **{**look, "marker": "none"}, alpha=0.9, linewidth=1.0)
            continue
        middle, low, high = (of_method[name] * 100 for name in ("em", "low", "high"))
        x = of_method.episode + 0.035 * (index - (len(methods) - 1) / 2)
        axes.errorbar(x, middle, yerr=[middle - low, high - middle], label=label, elinewidth=0.8, **look)
    axes.set_xticks(range(1, last + 1))
    axes.set_xlim(0.8, last + 0.2)
