"""What a sweep's values reach: every run, and mean and standard deviation by value."""

from __future__ import annotations

import itertools
import statistics
from pathlib import Path

import pandas as pd

from mrsearch.reporting.figures import style
from mrsearch.reporting.frame import Metrics
from mrsearch.reporting.sweeps import by_value, points, sweeps


def sweep_by_value(metrics: Metrics, out: Path) -> None:
    """Draw, under the report's decoding, a panel per swept key with a dot for every run, a row per model and sweep."""
    import matplotlib.pyplot as plt

    decoding = metrics.study.report.decoding
    rows = list(itertools.product(metrics.study.models, sweeps(metrics.study)))
    drawn = []
    for model, sweep in rows:
        for key, value, scores in by_value(points(metrics, model, decoding, sweep)):
            drawn += [
                {"model": model, "sweep": sweep, "key": key, "value": str(value), "em": 100 * em} for em in scores
            ]
    data = pd.DataFrame(drawn)
    columns = max(data[(data.model == model) & (data.sweep == sweep)].key.nunique() for model, sweep in rows)
    size = (max(style.COLUMN, 1.7 * columns), 0.35 + 1.7 * len(rows))
    figure, panels = plt.subplots(len(rows), columns, figsize=size, sharey="row", squeeze=False)
    for axes_of_row, (model, sweep) in zip(panels, rows, strict=True):
        of_row = data[(data.model == model) & (data.sweep == sweep)]
        keys = list(of_row.key.unique())
        axes_of_row[0].set_ylabel(f"{sweep}, {model}: EM (%)" if len(rows) > 1 else "EM (%)")
        for axes, key in zip(axes_of_row, keys, strict=False):
            of_key = of_row[of_row.key == key]
            values = list(of_key.value.unique())
            for position, value in enumerate(values):
                scores = list(of_key.em[of_key.value == value])
                spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
                axes.plot([position] * len(scores), scores, "o", color=style.COLORS[4], markerfacecolor="white")
                axes.errorbar([position + 0.15], [statistics.fmean(scores)], [spread], fmt="s", color=style.COLORS[0])
            axes.set_xticks(range(len(values)), values)
            axes.set_xlim(-0.5, len(values) - 0.5)
            axes.set_xlabel(key)
        for axes in axes_of_row[len(keys) :]:
            axes.set_visible(False)
    style.save(figure, data, out, "sweep")
