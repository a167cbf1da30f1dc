"""Accuracy against tokens."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mrsearch.evaluation.choices import HEADLINE
from mrsearch.reporting.figures import style
from mrsearch.reporting.frame import Metrics, method_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EQUAL_COST = 0.01


def accuracy_against_tokens(metrics: Metrics, out: Path) -> None:
    """Draw mean EM against mean generated tokens, a point per method; a line joins what no other method beats."""
    study = metrics.study
    data = _data(metrics)
    looks = style.look(study)
    figure, panels = style.grid(metrics, "Generated tokens", "Mean EM (%)", math.ceil(len(study.methods) / 2))
    for axes, model, decoding in panels:
        _panel(metrics, axes, data[(data.model == model) & (data.decoding == decoding)], looks)
    most, best = data.generated_tokens.max(), 100 * data.high.max()
    panels[0][0].set_xlim(-0.04 * most, 1.06 * most)
    panels[0][0].set_ylim(-0.05 * best, 1.05 * best)
    style.legend_below(figure)
    style.save(figure, data, out, "pareto")


def frontier(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The (cost, score) pairs that no other pair matches or beats in both, by rising cost.

    Costs that differ by less than EQUAL_COST of the larger one count as equal: of these the best score stays.
    """
    best: list[tuple[float, float]] = []
    for cost, score in sorted(points, key=lambda point: (point[0], -point[1])):
        if best and score <= best[-1][1]:
            continue
        if best and cost - best[-1][0] < EQUAL_COST * cost:
            best.pop()
        best.append((cost, score))
    return best


def _data(metrics: Metrics) -> pd.DataFrame:
    listed: list[dict[str, Any]] = []
    for model in metrics.study.models:
        for decoding in metrics.decodings:
            for method in metrics.study.methods:
                cell_key = (model, decoding, method)
                em = metrics.at(*cell_key, "average", "em", HEADLINE)
                row: dict[str, Any] = {"model": model, "decoding": decoding, "method": method}
                for cost in ("generated_tokens", "total_tokens", "searches"):
                    row[cost] = metrics.at(*cell_key, "average", cost, "all").value
                listed.append({**row, "em": em.value, "low": em.low, "high": em.high})
    return pd.DataFrame(listed)


def _panel(metrics: Metrics, axes: Axes, data: pd.DataFrame, looks: dict[str, dict[str, Any]]) -> None:
    points: list[dict[str, Any]] = data.to_dict("records")  # type: ignore[assignment]
    best = frontier([(point["generated_tokens"], point["em"] * 100) for point in points])
    axes.plot(*zip(*best, strict=True), color="#999999", linewidth=0.8, zorder=1)
    for point in points:
        look = {**looks[point["method"]], "linestyle": "none"}
        em, low, high = (100 * point[key] for key in ("em", "low", "high"))
        label = method_label(metrics.study, point["method"])
        axes.errorbar(point["generated_tokens"], em, [[em - low], [high - em]], elinewidth=0.8, label=label, **look)
