"""EM by episode."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from mrsearch.config import Study
from mrsearch.reporting.figures import style
from mrsearch.reporting.frame import Metrics, learned, method_label, parallel

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Curve(NamedTuple):
    """One line of the figure."""

    method: str
    metric: str
    """em: of each episode; em_vote, em_best: of the vote among, and of the best of, so many parallel samples."""
    label: str
    look: dict[str, Any]


def em_by_episode(metrics: Metrics, out: Path) -> None:
    """Draw the mean EM of each episode, a panel per model and decoding; methods of one episode are level lines.

    Parallel samples have two lines: the vote of the first k, which needs no gold answer, and the best of k (pass@k),
    which nothing that cannot see the gold answer reaches.
    """
    curves = list(_curves(metrics.study))
    data = _data(metrics, curves)
    figure, panels = style.grid(metrics, "Episode", "Mean EM (%)", math.ceil(len(curves) / 2))
    panels[0][0].set_ylim(0, min(102.0, max(10.0, float(data.high.max()) * 100 + 4)))
    for axes, model, decoding in panels:
        _panel(axes, data[(data.model == model) & (data.decoding == decoding)], curves)
    style.legend_below(figure)
    style.save(figure, data, out, "episodes")


def _curves(study: Study) -> list[Curve]:
    methods = [name for name in study.methods if study.methods[name].episodes > 1 or name in learned(study)]
    looks = style.look(study)
    curves = []
    for method in methods or list(study.methods):
        label, look = method_label(study, method), looks[method]
        if parallel(study, method):
            curves.append(Curve(method, "em_vote", f"{label}: vote", look))
            hollow = {**look, "linestyle": (0, (1, 1.5)), "markerfacecolor": "white", "linewidth": 0.9}
            curves.append(Curve(method, "em_best", f"{label}: best", hollow))
        else:
            curves.append(Curve(method, "em", label, look))
    return curves


def _data(metrics: Metrics, curves: list[Curve]) -> pd.DataFrame:
    listed: list[dict[str, Any]] = []
    for model in metrics.study.models:
        for decoding in metrics.decodings:
            for method, metric, _, _ in curves:
                for episode in range(1, metrics.study.methods[method].episodes + 1):
                    cell = metrics.at(model, decoding, method, "average", metric, str(episode))
                    keys = {"model": model, "decoding": decoding, "method": method, "metric": metric}
                    numbers = {"episode": episode, "em": cell.value, "low": cell.low, "high": cell.high}
                    listed.append({**keys, **numbers, "n": int(cell.n)})
    return pd.DataFrame(listed)


def _panel(axes: Axes, data: pd.DataFrame, curves: list[Curve]) -> None:
    last = int(data.episode.max())
    spread = min(0.0175 * max(2, last - 1), 0.25 / len(curves))
    for index, (method, metric, label, look) in enumerate(curves):
        of_curve = data[(data.method == method) & (data.metric == metric)]
        if len(of_curve) == 1:
            level = of_curve.em.iloc[0] * 100
            axes.plot([1, last], [level, level], label=label, **{**look, "marker": "none"}, alpha=0.9, linewidth=1.0)
            continue
        middle, low, high = (of_curve[name] * 100 for name in ("em", "low", "high"))
        x = of_curve.episode + spread * (index - (len(curves) - 1) / 2)
        axes.errorbar(x, middle, yerr=[middle - low, high - middle], label=label, elinewidth=0.8, **look)
    axes.set_xticks(range(1, last + 1, max(1, last // 5)))
    axes.set_xlim(1 - 0.2 * max(1, last / 3), last + 0.2 * max(1, last / 3))
