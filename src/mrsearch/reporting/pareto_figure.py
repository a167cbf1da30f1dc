"""Accuracy against tokens."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mrsearch.reporting import style
from mrsearch.reporting.frame import HEADLINE, Metrics, method_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def accuracy_against_tokens(rows: Metrics, out: Path) -> None:
    """Draw mean EM against mean generated tokens, a point per method; a line joins what no other method beats."""
    study = rows.study
    data = _data(rows)
    looks = style.look(study)
    figure, panels = style.grid(rows, "Generated tokens", "Mean EM (%)", math.ceil(len(study.methods) / 2))
    for axes, model, decoding in panels:
        _panel(rows, axes, data[(data.model == model) & (data.decoding == decoding)], looks)
    panels[0][0].set_ylim(bottom=0)
    panels[0][0].set_xlim(left=0)
    style.legend_below(figure)
    style.save(figure, data, out, "pareto")


def frontier(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The (cost, score) pairs that no other pair matches or beats in both, by rising cost."""
    kept: list[tuple[float, float]] = []
    for cost, score in sorted(points, key=lambda point: (point[0], -point[1])):
        if not kept or score > kept[-1][1]:
            kept.append((cost, score))
    return kept


def _data(rows: Metrics) -> pd.DataFrame:
    listed: list[dict[str, Any]] = []
    for model in rows.study.models:
        for decoding in rows.decodings:
            for method in rows.study.methods:
                place = (model, decoding, method)
                em = rows.at(*place, "average", "em", HEADLINE)
                row: dict[str, Any] = {"model": model, "decoding": decoding, "method": method}
                for cost in ("generated_tokens", "total_tokens", "searches"):
                    row[cost] = rows.at(*place, "average", cost, "all").value
                listed.append({**row, "em": em.value, "low": em.low, "high": em.high})
    return pd.DataFrame(listed)


def _panel(rows: Metrics, axes: Axes, data: pd.DataFrame, looks: dict[str, dict[str, Any]]) -> None:
    points: list[dict[str, Any]] = data.to_dict("records")  # type: ignore[assignment]
    best = frontier([(point["generated_tokens"], point["em"] * 100) for point in points])
    axes.plot(*zip(*best, strict=True), color="#999999", linewidth=0.8, zorder=1)
    for point in points:
        look = {**looks[point["method"]], "linestyle": "none"}
        em, low, high = (100 * point[key] for key in ("em", "low", "high"))
        label = method_label(rows.study, point["method"])
        axes.errorbar(point["generated_tokens"], em, [[em - low], [high - em]], elinewidth=0.8, label=label, **look)
