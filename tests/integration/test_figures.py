"""Figures: complete, the same bytes again, and no text that leaves a figure or covers another."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mrsearch.config import Run, Study, load_study
from mrsearch.evaluation.metrics import write_metrics
from mrsearch.reporting.figures import style
from mrsearch.reporting.figures.writer import write_figures
from mrsearch.reporting.tables.writer import write_tables

pytestmark = pytest.mark.integration
FIGURES = ("improvement", "episodes", "changes", "pareto", "training")
TOLERANCE = 1.0
"""Points."""


def boxes(figure: Any) -> list[tuple[str, list[float]]]:
    """Every shown text with its extent (left, bottom, right, top) in points."""
    from matplotlib.text import Text

    figure.canvas.draw()
    hidden = set(map(id, _labels_not_drawn(figure)))
    scale = 72 / figure.dpi
    found = []
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip() and id(text) not in hidden:
            box = text.get_window_extent()
            found.append((text.get_text(), [value * scale for value in (box.x0, box.y0, box.x1, box.y1)]))
    return found


def _labels_not_drawn(figure: Any) -> Iterator[Any]:
    """Labels of hidden axes, and of ticks beyond the ends of an axis."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if not (axes.get_visible() and low <= tick.get_loc() <= high):
                    yield from (tick.label1, tick.label2)


def mislabelled(figure: Any) -> list[str]:
    """Ticks whose label is another number than their position; a position below 0 may show its absolute value."""
    wrong = []
    for axis in (
        axis for axes in figure.axes if axes.get_visible() and axes.axison for axis in (axes.xaxis, axes.yaxis)
    ):
        for tick in axis.get_major_ticks():
            text = tick.label1.get_text().replace("\N{MINUS SIGN}", "-")
            number = float(text) if re.fullmatch(r"-?[\d.]+", text) else tick.get_loc()
            if not any(math.isclose(number, place, abs_tol=1e-9) for place in (tick.get_loc(), -tick.get_loc())):
                wrong.append(f"{text!r} stands at {tick.get_loc():g}")
    return wrong


def cut_off(figure: Any) -> list[str]:
    """Lines, markers and bands that the edge of their panel cuts."""
    found = []
    for axes in (axes for axes in figure.axes if axes.get_visible() and axes.axison):
        panel = axes.bbox.padded(TOLERANCE * figure.dpi / 72)
        for line in axes.lines:
            drawn = line.get_xydata()
            if line.get_transform() != axes.transData or not line.get_clip_on() or not len(drawn):
                continue
            reach = 0.0 if line.get_marker() in ("None", "none", None, "") else line.get_markersize() / 2
            found += _beyond(panel, axes.transData.transform(drawn), reach * figure.dpi / 72, line.get_label())
        for band in axes.collections:
            for path in band.get_paths():
                if band.get_transform() == axes.transData:
                    found += _beyond(panel, axes.transData.transform(path.vertices), 0.0, "a band")
    return found


def _beyond(panel: Any, points_P2: Any, reach: float, label: str) -> list[str]:
    low, high = points_P2.min(axis=0) - reach, points_P2.max(axis=0) + reach
    outside = low[0] < panel.x0 or low[1] < panel.y0 or high[0] > panel.x1 or high[1] > panel.y1
    return [f"{label} is cut at the edge of its panel"] if outside else []


def problems(figure: Any) -> list[str]:
    width, height = (72 * inches for inches in figure.get_size_inches())
    shown = boxes(figure)
    found = mislabelled(figure) + cut_off(figure)
    for text, (left, bottom, right, top) in shown:
        if left < -TOLERANCE or bottom < -TOLERANCE or right > width + TOLERANCE or top > height + TOLERANCE:
            found.append(f"{text!r} leaves the figure")
    for (one, a), (other, b) in itertools.combinations(shown, 2):
        across = min(a[2], b[2]) - max(a[0], b[0])
        upwards = min(a[3], b[3]) - max(a[1], b[1])
        if across > TOLERANCE and upwards > TOLERANCE:
            found.append(f"{one!r} covers {other!r}")
    return found


def paper_study(root: Path) -> Study:
    raw = load_study(Run(study="paper"), root).model_dump()
    return Study.model_validate(raw)


def test_what_is_out_of_place_is_seen():
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FixedLocator

    figure, axes = plt.subplots(figsize=(3, 2), layout="constrained")
    axes.text(0.5, 0.5, "here", transform=axes.transAxes)
    assert problems(figure) == []
    axes.text(0.52, 0.52, "there", transform=axes.transAxes)
    figure.text(0.9, 0.5, "far to the right")
    assert problems(figure) == ["'far to the right' leaves the figure", "'here' covers 'there'"]
    plt.close(figure)
    figure, axes = plt.subplots(figsize=(3, 2), layout="constrained")
    axes.set_ylim(0, 10)
    axes.yaxis.set_major_locator(FixedLocator([2.5, 5]))
    axes.yaxis.set_major_formatter("{x:.0f}")
    assert problems(figure) == ["'2' stands at 2.5"]
    plt.close(figure)
    figure, axes = plt.subplots(figsize=(3, 2), layout="constrained")
    axes.plot([1, 2], [0, 1], "o", label="points")
    axes.fill_between([1, 2], [0, 0.5], [1, 1.5])
    assert problems(figure) == []
    axes.set_ylim(0, 1.2)
    assert problems(figure) == ["points is cut at the edge of its panel", "a band is cut at the edge of its panel"]
    plt.close(figure)


def shown(study: Study, name: str) -> Study:
    """The study, with labels that mathematics would swallow, or with one benchmark."""
    raw = study.model_dump()
    if name == "dollars":
        labels = ("RAG $100% vs $50", "$5 & $6", r"x_1^2 {\bf no} of more words than half a column has", "50% #1 ~ <b>")
        for method, label in zip(raw["methods"].values(), itertools.cycle(labels), strict=False):
            method["label"] = label
        raw["report"]["scaling"] = True
    if name == "one benchmark":
        raw["benchmarks"] = dict([*raw["benchmarks"].items()][:1])
    return Study.model_validate(raw)


@pytest.mark.parametrize("chosen", ["small", "paper", "dollars", "one benchmark"])
def test_every_text_has_its_place(
    chosen: str,
    root: Path,
    small_study: Study,
    make_records: Callable[..., Path],
    make_train_logs: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    study = paper_study(root) if chosen == "paper" else shown(small_study, chosen)
    write_metrics(study, make_records(study, tmp_path / "eval", 8), tmp_path / "s.parquet", tmp_path / "m.parquet")
    save, looked = style.save, {}

    def look_and_save(figure: Any, data: Any, out: Path, name: str) -> None:
        looked[name] = problems(figure)
        save(figure, data, out, name)

    monkeypatch.setattr(style, "save", look_and_save)
    write_figures(study, tmp_path / "m.parquet", make_train_logs(study, tmp_path / "models"), tmp_path / "figures")
    assert len(looked) >= 5
    assert {name: found for name, found in looked.items() if found} == {}
    assert max(path.stat().st_size for path in (tmp_path / "figures").glob("*.svg")) < 400_000


def test_figures_are_complete_and_repeatable(
    small_study: Study, make_records: Callable[..., Path], make_train_logs: Callable[..., Path], tmp_path: Path
):
    metrics = tmp_path / "m.parquet"
    write_metrics(small_study, make_records(small_study, tmp_path / "eval"), tmp_path / "s.parquet", metrics)
    models = make_train_logs(small_study, tmp_path / "models")
    for name in ("a", "b"):
        write_figures(small_study, metrics, models, tmp_path / name)
    drawn = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert drawn == {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}
    assert set(drawn) == {f"{name}.{kind}" for name in FIGURES for kind in ("pdf", "svg", "png", "csv")}
    for name, content in drawn.items():
        assert b"2026" not in content[:2000] or name.endswith(".png")


def test_a_study_without_training_or_reflection(small_study: Study, make_records: Callable[..., Path], tmp_path: Path):
    """Two methods of one generation, nothing right: no improvement is defined, and everything is drawn all the same."""
    raw = small_study.model_dump()
    raw["methods"] = {"direct": {"procedure": "direct"}, "rag": {"procedure": "rag"}}
    raw["report"]["baseline"] = "direct"
    raw["seeds"] = [0]
    study = Study.model_validate(raw)
    write_metrics(study, make_records(study, tmp_path / "eval", 2), tmp_path / "s.parquet", tmp_path / "m.parquet")
    write_tables(study, tmp_path / "m.parquet", tmp_path / "tables")
    write_figures(study, tmp_path / "m.parquet", tmp_path / "models", tmp_path / "figures")
    assert len(list((tmp_path / "figures").iterdir())) == 4 * len(FIGURES)
