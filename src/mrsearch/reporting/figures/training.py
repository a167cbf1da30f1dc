"""Training curves."""

from __future__ import annotations

import json
import math
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mrsearch.config import Study
from mrsearch.config.layout import TRAIN_LOG, seed_folder
from mrsearch.reporting.figures import style
from mrsearch.reporting.frame import method_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REWARD, SCORE, STEP, TOKENS = "reward", "score", "step", "total_tokens"
X_LABELS = {STEP: "Training step", TOKENS: "Million training tokens"}
MILLION = 1e6


@dataclass(frozen=True)
class Panel:
    """One set of axes: what the log's `key` was, over `x`."""

    title: str
    key: str
    x: str = STEP


PANELS = (
    Panel("Reward (%)", REWARD),
    Panel("Reward (%)", REWARD, TOKENS),
    Panel("Searches", "searches"),
    Panel("Generated tokens", "generated_tokens"),
    Panel("Entropy (nats per token)", "entropy"),
)
"""Searches and tokens are means per meta-episode, entropy is a mean over tokens."""
MEASURED = ("searches", "generated_tokens", "entropy")
SMOOTHING = 5
"""Steps of the running mean."""
NAME, LINES = 22, 10
"""Characters of a line, and lines, that a legend in the place of a panel has room for."""


def training_curves(study: Study, models_dir: Path, out: Path) -> None:
    """Draw reward by episode over steps and over tokens, searches, length and entropy, seeds as a band.

    Earlier episodes have thinner, paler lines than the last, which alone has the band. The CSV holds what is drawn:
    running means over steps, by seed. Raises ValueError when a trained method lacks its log, or the log a value.
    """
    methods = [name for name, method in study.methods.items() if method.train and method.train.algorithm != "sft"]
    data = smoothed(read_logs(study, methods, models_dir))
    looks = style.look(study)
    figure, panels, legend = _panels(list(study.models))
    for (model, panel), axes in panels.items():
        for method in methods:
            of_method = data[(data.model == model) & (data.method == method)]
            episodes = study.methods[method].episodes if panel.key == REWARD else 0
            _curves(axes, of_method, panel, episodes, looks[method])
        axes.set_ylim(bottom=0)
    if methods:
        handles = _handles(study, methods, looks)
        labels = [textwrap.fill(str(handle.get_label()), NAME) for handle in handles]
        if legend is None or sum(label.count("\n") + 1 for label in labels) > LINES:
            style.legend_below(figure, handles)
        else:
            legend.legend(handles, labels, loc="center left", handlelength=2.6, borderaxespad=0)
    else:
        figure.suptitle("No method of this study is trained by reinforcement", fontsize=7)
    style.save(figure, data, out, "training")


def _handles(study: Study, methods: list[str], looks: dict[str, dict[str, Any]]) -> list[Any]:
    """A line per method, and one per episode where there are several."""
    from matplotlib.lines import Line2D

    lines = {name: {key: looks[name][key] for key in ("color", "linestyle")} for name in methods}
    handles = [Line2D([], [], label=method_label(study, name), **line) for name, line in lines.items()]
    most = max(study.methods[name].episodes for name in methods)
    for episode in range(1, most + 1) if most > 1 else ():
        shade: dict[str, Any] = _shade(episode, most)
        handles.append(Line2D([], [], color="#444444", label=f"Episode {episode}", **shade))
    return handles


def _panels(models: list[str]) -> tuple[Figure, dict[tuple[str, Panel], Axes], Axes | None]:
    """Three rows of two for one model, the last place for the legend; for several a column each, with what is
    measured at the left."""
    import matplotlib.pyplot as plt

    if len(models) == 1:
        figure, grid = plt.subplots(3, 2, figsize=(style.COLUMN, 4.5))
        panels = {(models[0], panel): axes for panel, axes in zip(PANELS, grid.flat, strict=False)}
        for (_, panel), axes in panels.items():
            axes.set_title(panel.title)
            axes.set_xlabel(X_LABELS[panel.x])
        legend = grid[-1, -1]
        legend.set_axis_off()
        return figure, panels, legend
    size = (style.COLUMN * max(1.0, len(models) / 2), 7.4)
    figure, grid = plt.subplots(len(PANELS), len(models), figsize=size, sharex="row", sharey="row")
    panels = {
        (model, panel): grid[row, column] for row, panel in enumerate(PANELS) for column, model in enumerate(models)
    }
    for axes, model in zip(grid[0], models, strict=True):
        axes.set_title(model)
    for row, panel in zip(grid, PANELS, strict=True):
        row[0].set_ylabel(panel.title)
        for axes in row:
            axes.set_xlabel(X_LABELS[panel.x])
    return figure, panels, None


def read_logs(study: Study, methods: list[str], models_dir: Path) -> pd.DataFrame:
    """A row per model, method, seed and step; reward_1 to reward_N are the rewards of each episode or, where other
    terms than the score went into those, the scores, so that methods can be compared."""
    listed: list[dict[str, Any]] = []
    for model in study.models:
        for method in methods:
            for seed in study.seeds:
                path = seed_folder(models_dir, model, method, seed) / TRAIN_LOG
                if not path.is_file():
                    raise ValueError(f"{path} is missing: train {method} again")
                keys = {"model": model, "method": method, "seed": seed}
                listed += [{**keys, **row} for row in _read_log(path)]
    last = max((study.methods[method].episodes for method in methods), default=1)
    rewards = [f"{REWARD}_{episode}" for episode in range(1, last + 1)]
    return pd.DataFrame(listed, columns=["model", "method", "seed", STEP, TOKENS, *rewards, *MEASURED])


def smoothed(logs: pd.DataFrame) -> pd.DataFrame:
    """The logs with running means over SMOOTHING steps in place of each step's values; steps and tokens stay."""
    values = [name for name in logs.columns if name in MEASURED or name.startswith(f"{REWARD}_")]
    means = logs.copy()
    for _, group in logs.groupby(["model", "method", "seed"], sort=False):
        means.loc[group.index, values] = group[values].astype(float).rolling(SMOOTHING, min_periods=1).mean()
    return means


def _read_log(path: Path) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            raw = json.loads(line)
            rewards = {f"{REWARD}_{episode}": value for episode, value in enumerate(raw.get(SCORE, raw[REWARD]), 1)}
            rows.append({**{key: raw[key] for key in (STEP, TOKENS, *MEASURED)}, **rewards})
            if raw.get("zero_variance_groups") == 1.0 and raw["entropy"] == 0.0:
                rows[-1]["entropy"] = math.nan  # nothing was trained, so nothing was measured
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: not a step of a training log: {error!r}") from error
    return rows


def _curves(axes: Axes, data: pd.DataFrame, panel: Panel, episodes: int, look: dict[str, Any]) -> None:
    """A line per episode, in percent, where the panel shows rewards (`episodes` above 0); else one line."""
    if not episodes:
        _curve(axes, data, panel.key, panel.x, look)
    for episode in range(1, episodes + 1):
        shade = _shade(episode, episodes)
        _curve(axes, data, f"{REWARD}_{episode}", panel.x, look, scale=100, band=episode == episodes, **shade)


def _shade(episode: int, episodes: int) -> dict[str, float]:
    return {"alpha": 0.35 + 0.65 * episode / episodes, "linewidth": 0.6 + 0.6 * episode / episodes}


def _curve(
    axes: Axes,
    data: pd.DataFrame,
    key: str,
    x: str,
    look: dict[str, Any],
    scale: float = 1,
    band: bool = True,
    **line: Any,
) -> None:
    """The mean over seeds, at the seeds' mean tokens where those are x; the band spans the seeds."""
    if data.empty:
        return
    wide = data.pivot(index=STEP, columns="seed", values=key).astype(float) * scale
    x_values = data.groupby(STEP)[TOKENS].mean().to_numpy() / MILLION if x == TOKENS else wide.index.to_numpy()
    axes.plot(x_values, wide.mean(axis=1), color=look["color"], linestyle=look["linestyle"], **line)
    if band and wide.shape[1] > 1:
        axes.fill_between(x_values, wide.min(axis=1), wide.max(axis=1), color=look["color"], alpha=0.18, linewidth=0)
