"""Answers corrected against answers corrupted, episode by episode."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mrsearch.reporting.figures import style
from mrsearch.reporting.frame import Metrics, method_label, parallel

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def corrected_and_corrupted(metrics: Metrics, out: Path) -> None:
    """Draw the share of questions corrected (up) and corrupted (down) in each later episode, per model and decoding."""
    from matplotlib.patches import Patch

    study = metrics.study
    methods = [method for method in study.methods if study.methods[method].episodes > 1 and not parallel(study, method)]
    data = _data(metrics, methods)
    looks = style.look(study)
    figure, panels = style.grid(metrics, "Episode", "Share of questions (%)", math.ceil(len(methods) / 2))
    for axes, model, decoding in panels:
        _panel(axes, data[(data.model == model) & (data.decoding == decoding)], methods, looks)
    first = panels[0][0]
    down, up = (max(4.0, abs(end)) for end in first.get_ylim())
    first.set_ylim(-1.2 * down, 1.2 * up)
    if methods:
        handles = [
            Patch(fc=looks[method]["color"], hatch=_hatch(index), ec="white", label=method_label(study, method))
            for index, method in enumerate(methods)
        ]
        style.legend_below(figure, handles=handles)
    else:
        figure.suptitle("No method of this study has a second episode", fontsize=7)
    style.save(figure, data, out, "changes")


def _data(metrics: Metrics, methods: list[str]) -> pd.DataFrame:
    listed: list[dict[str, Any]] = []
    for model in metrics.study.models:
        for decoding in metrics.decodings:
            for method in methods:
                for episode in range(2, metrics.study.methods[method].episodes + 1):
                    row: dict[str, Any] = {"model": model, "decoding": decoding, "method": method, "episode": episode}
                    for metric in ("corrected", "corrupted"):
                        cell = metrics.at(model, decoding, method, "average", metric, str(episode))
                        row.update({metric: cell.value, f"{metric}_low": cell.low, f"{metric}_high": cell.high})
                    listed.append(row)
    columns = ["model", "decoding", "method", "episode"]
    columns += [f"{metric}{bound}" for metric in ("corrected", "corrupted") for bound in ("", "_low", "_high")]
    return pd.DataFrame(listed, columns=columns)


def _panel(axes: Axes, data: pd.DataFrame, methods: list[str], looks: dict[str, dict[str, Any]]) -> None:
    width = 0.8 / max(1, len(methods))
    for index, method in enumerate(methods):
        of_method = data[data.method == method]
        x = of_method.episode + (index - (len(methods) - 1) / 2) * width
        for metric, sign in (("corrected", 100), ("corrupted", -100)):
            middle = of_method[metric] * sign
            ends = of_method[[f"{metric}_low", f"{metric}_high"]].to_numpy().T * sign
            below, above = abs(np.sort(ends, axis=0) - middle.to_numpy())
            shade = {"color": looks[method]["color"], "alpha": 1.0 if sign > 0 else 0.55}
            axes.bar(x, middle, width * 0.9, hatch=_hatch(index), edgecolor="white", **shade)
            axes.errorbar(x, middle, yerr=[below, above], fmt="none", ecolor="#222222", elinewidth=0.8)
    axes.axhline(0, color="#222222", linewidth=0.8)
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    if not data.empty:
        axes.set_xticks(sorted(data.episode.unique()))
    axes.grid(axis="x", visible=False)
    for height, word, side in ((0.99, "corrected", "top"), (0.025, "corrupted", "bottom")):
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
        axes.text(0.02, height, word, transform=axes.transAxes, va=side, fontsize=6.5, fontstyle="italic", bbox=box)


def _hatch(index: int) -> str:
    return style.HATCHES[index % len(style.HATCHES)]
