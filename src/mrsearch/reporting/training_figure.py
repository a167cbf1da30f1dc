"""Training curves."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mrsearch.config import Study
from mrsearch.reporting import style
from mrsearch.reporting.frame import method_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REWARD = "em"
PANELS = {
    REWARD: "Reward by episode (%)",
    "searches": "Searches",
    "generated_tokens": "Generated tokens",
    "entropy": "Entropy (nats per token)",
}
"""What the log's keys are called; searches and tokens are means per meta-episode, entropy is a mean over tokens."""
SMOOTHING = 5
"""Steps of the running mean."""


def training_curves(study: Study, models_dir: Path, out: Path) -> None:
    """Draw reward by episode, searches, length and entropy against the training step, seeds as a band.

    Earlier episodes have thinner, paler lines than the last, which alone has the band. Raises
    ValueError when a trained method lacks its log, or the log a value.
    """
    methods = [name for name, method in study.methods.items() if method.train and method.train.algorithm != "sft"]
    data = read_logs(study, methods, models_dir)
    looks = style.look(study)
    figure, panels = _panels(list(study.models))
    for (model, key), axes in panels.items():
        for method in methods:
            of_method = data[(data.model == model) & (data.method == method)]
            if key == REWARD:
                _rewards(axes, of_method, study.methods[method].episodes, looks[method])
            else:
                _curve(axes, of_method, key, looks[method], label=method_label(study, method))
        axes.set_ylim(bottom=0)
    if methods:
        handles, labels = panels[next(iter(study.models)), "entropy"].get_legend_handles_labels()
        style.legend_below(figure, handles=handles, labels=labels)
    else:
        figure.suptitle("No method of this study is trained by reinforcement", fontsize=7)
    style.save(figure, data, out, "training")


def _panels(models: list[str]) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    """A square of panels for one model; for several a column each, with what is measured at the left."""
    import matplotlib.pyplot as plt

    if len(models) == 1:
        figure, grid = plt.subplots(2, 2, figsize=(style.COLUMN, 3.3), sharex=True)
        panels = {(models[0], key): axes for key, axes in zip(PANELS, grid.flat, strict=True)}
        for (_, key), axes in panels.items():
            axes.set_title(PANELS[key])
    else:
        size = (style.COLUMN * max(1.0, len(models) / 2), 5.6)
        figure, grid = plt.subplots(len(PANELS), len(models), figsize=size, sharex=True, sharey="row")
        panels = {
            (model, key): grid[row, column] for row, key in enumerate(PANELS) for column, model in enumerate(models)
        }
        for axes, model in zip(grid[0], models, strict=True):
            axes.set_title(model)
        for axes, label in zip(grid[:, 0], PANELS.values(), strict=True):
            axes.set_ylabel(label)
    for axes in grid[-1]:
        axes.set_xlabel("Training step")
    return figure, panels


def read_logs(study: Study, methods: list[str], models_dir: Path) -> pd.DataFrame:
    """A row per model, method, seed and step; em_1 to em_N are the rewards of each episode."""
    listed: list[dict[str, Any]] = []
    for model in study.models:
        for method in methods:
            for seed in study.seeds:
                path = models_dir / model / method / f"seed{seed}" / "train.jsonl"
                if not path.is_file():
                    raise ValueError(f"{path} is missing: train {method} again")
                place = {"model": model, "method": method, "seed": seed}
                listed += [{**place, **row} for row in _read_log(path)]
    last = max((study.methods[method].episodes for method in methods), default=1)
    rewards = [f"{REWARD}_{episode}" for episode in range(1, last + 1)]
    measured = [key for key in PANELS if key != REWARD]
    return pd.DataFrame(listed, columns=["model", "method", "seed", "step", *rewards, *measured])


def _read_log(path: Path) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            raw = json.loads(line)
            rewards = {f"{REWARD}_{episode}": value for episode, value in enumerate(raw[REWARD], 1)}
            rows.append({"step": raw["step"], **rewards, **{key: raw[key] for key in PANELS if key != REWARD}})
            if raw.get("zero_variance_groups") == 1.0 and raw["entropy"] == 0.0:
                rows[-1]["entropy"] = math.nan  # nothing was trained, so nothing was measured
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: not a step of a training log: {error!r}") from error
    return rows


def _rewards(axes: Axes, data: pd.DataFrame, episodes: int, look: dict[str, Any]) -> None:
    """A line per episode, in percent."""
    for episode in range(1, episodes + 1):
        faded = {"alpha": 0.35 + 0.65 * episode / episodes, "linewidth": 0.6 + 0.6 * episode / episodes}
        _curve(axes, data, f"{REWARD}_{episode}", look, scale=100, band=episode == episodes, **faded)


def _curve(
    axes: Axes, data: pd.DataFrame, key: str, look: dict[str, Any], scale: float = 1, band: bool = True, **line: Any
) -> None:
    """The running mean over steps, averaged over seeds; the band spans the seeds."""
    if data.empty:
        return
    wide = data.pivot(index="step", columns="seed", values=key).astype(float)
    wide = (wide * scale).rolling(SMOOTHING, min_periods=1).mean()
    axes.plot(wide.index, wide.mean(axis=1), color=look["color"], linestyle=look["linestyle"], **line)
    if band and wide.shape[1] > 1:
        axes.fill_between(wide.index, wide.min(axis=1), wide.max(axis=1), color=look["color"], alpha=0.18, linewidth=0)
