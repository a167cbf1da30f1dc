"""What a study's retrievers find, against the time that a query takes."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mrsearch.config import Study
from mrsearch.reporting.contents import RETRIEVAL
from mrsearch.reporting.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RECALL, ANSWER_HIT = "recall", "answer-hit"
TITLES = {RECALL: "Recall@{k} of exact search (%)", ANSWER_HIT: "Answer found@{k} (%)"}
OVERALL = "all"
DEPTH = "at_"


def retrieval_quality(study: Study, quality: Path, out: Path) -> None:
    """Draw recall of exact search, and how often an answer is found, against milliseconds a query, a point a retriever.

    `quality` is the table of `mrsearch index compare`. Shares are over all questions, at the depth that agents read or
    the next one that was measured. An exact dense index has recall 100 % by definition, and a hollow point there.
    ValueError where the file is no such table.
    """
    data = read_quality(study, quality)
    with style.styled():
        _draw(study, data, out)


def read_quality(study: Study, path: Path) -> pd.DataFrame:
    """Rows of retriever, measure, depth k, share between 0 and 1, milliseconds, and whether the share is measured."""
    rows = _overall_rows(path)
    depths = sorted(int(name.removeprefix(DEPTH)) for name in rows[0] if name.startswith(DEPTH))
    k = next((depth for depth in depths if depth >= study.retrieval.topk), depths[-1])
    listed: list[dict[str, Any]] = []
    for name in dict.fromkeys(row["retriever"] for row in rows):
        by_measure = {row["measure"]: row for row in rows if row["retriever"] == name}
        shares = {measure: float(by_measure[measure][f"{DEPTH}{k}"]) for measure in TITLES if measure in by_measure}
        if study.retrieval.retrievers[name].kind == "dense":
            shares = {RECALL: 1.0, **shares}  # not measured of an exact index
        keys = {"retriever": name, "k": k, "milliseconds": float(by_measure[ANSWER_HIT]["milliseconds"])}
        for measure, share in shares.items():
            listed.append({**keys, "measure": measure, "share": share, "measured": measure in by_measure})
    return pd.DataFrame(listed, columns=["retriever", "measure", "k", "share", "milliseconds", "measured"])


def _overall_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("benchmark") == OVERALL]
    if not rows or not {"retriever", "measure", "milliseconds"} <= rows[0].keys():
        raise ValueError(f"{path}: not a report on retrieval: make it again with `mrsearch index compare`")
    return rows


def _draw(study: Study, data: pd.DataFrame, out: Path) -> None:
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    names = list(dict.fromkeys(data.retriever))
    measures = [measure for measure in TITLES if data[data.measure == measure].measured.any()]
    # Each smaller than the one before: what lies on the same point stays in sight.
    looks: dict[str, dict[str, Any]] = {
        name: {"color": style.COLORS[i % 8], "marker": style.MARKERS[i % 8], "markersize": max(3.0, 7.0 - 1.2 * i)}
        for i, name in enumerate(names)
    }
    size = (style.COLUMN, 2.0 + 0.15 * ((len(names) + 1) // 2))
    figure, panels = plt.subplots(1, len(measures), figsize=size, sharex=True, squeeze=False)
    for axes, measure in zip(panels[0], measures, strict=True):
        _panel(axes, data[data.measure == measure], looks)
        axes.set_title(TITLES[measure].format(k=int(data.k.iloc[0])), fontsize=7)
        axes.set_xlabel("ms a query")
    handles = [Line2D([], [], linestyle="none", label=name, **looks[name]) for name in names]
    style.legend_below(figure, handles=handles)
    style.save(figure, data, out, RETRIEVAL)


def _panel(axes: Axes, data: pd.DataFrame, looks: dict[str, dict[str, Any]]) -> None:
    points: list[dict[str, Any]] = data.to_dict("records")  # type: ignore[assignment]
    for point in points:
        look = looks[point["retriever"]] | ({} if point["measured"] else {"markerfacecolor": "white"})
        axes.plot([point["milliseconds"]], [100 * point["share"]], **look, linestyle="none", clip_on=False)
    axes.set_xscale("log")
    fastest, slowest = data.milliseconds.min(), data.milliseconds.max()
    axes.set_xlim(fastest / 1.6, slowest * 1.6)
    axes.xaxis.set_minor_formatter(lambda *_: "")
    ticks = [scale * step for scale in (0.001, 0.01, 0.1, 1, 10, 100, 1000, 10000) for step in (1, 2, 5)]
    shown = [tick for tick in ticks if fastest / 1.6 <= tick <= slowest * 1.6]
    axes.set_xticks(shown, [f"{tick:g}" for tick in shown])
    low, high = 100 * float(data.share.min()), 100 * float(data.share.max())
    room = max(2.0, 0.15 * (high - low))
    bottom, top = max(0.0, low - room), min(high + room, 100.0 + 0.3 * room)
    axes.set_ylim(bottom, top)
    if top > 100.0:  # room for a marker, not for shares that nothing can have
        axes.set_yticks([tick for tick in axes.get_yticks() if bottom <= tick <= 100.0])
