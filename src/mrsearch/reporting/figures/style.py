"""One look for every figure: paper column width, colours for all eyes, the same bytes every time."""

from __future__ import annotations

import logging
import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrsearch.config import Study
from mrsearch.csv_cells import csv_text
from mrsearch.files import atomic_file, write_text
from mrsearch.reporting.contents import FIGURE_KINDS
from mrsearch.reporting.frame import Metrics, learned

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN = 3.35
"""Width of a paper's column, in inches."""
PAGE = 6.9
"""Width of a paper's two columns, in inches."""
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8C6D31")
"""Okabe and Ito's palette, told apart by colour-blind eyes."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (7, 2)), (0, (3, 3)))
CHARACTER, LINE, LEGEND_LINE = 0.056, 0.12, 0.42
"""Of a legend, in inches: a character's width with room to spare, a line's height, and what stands before a name."""
HATCHES = ("", "////", "\\\\\\\\", "xxxx", "----")
"""Markers, dashes and hatches tell methods apart in grey. Hatches of dots make an SVG ten times larger."""

SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 7.0,
    "text.parse_math": False,  # names of methods and models are text: a $ in them is a dollar
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.0,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "figure.constrained_layout.use": True,
    "hatch.linewidth": 0.5,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "mrsearch",
    "savefig.dpi": 300,
    "path.simplify": True,
}


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib in our style, without a screen; whatever was set before comes back."""
    import matplotlib

    matplotlib.use("agg", force=True)
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)  # type: ignore[arg-type]
        yield


def look(study: Study) -> dict[str, dict[str, Any]]:
    """Colour, marker and dash of each method; a study keeps them through all its figures.

    Methods that train come first, the latest in the study first of all, so that they get the plainest lines; then those
    that borrow what was trained. Beyond as many methods as there are colours, markers are hollow and shifted.
    """
    borrowed = learned(study)
    trained = [method for method in reversed(borrowed) if study.methods[method].train]
    order = list(dict.fromkeys([*trained, *borrowed, *study.methods]))
    return {method: _look(index) for index, method in enumerate(order)}


def _look(index: int) -> dict[str, Any]:
    again, color = divmod(index, len(COLORS))
    look = {
        "color": COLORS[color],
        "marker": MARKERS[(color + again) % len(MARKERS)],
        "linestyle": DASHES[(color + again) % len(DASHES)],
    }
    return look | {"markerfacecolor": "white"} if again % 2 else look


def grid(metrics: Metrics, x_label: str, y_label: str, legend_rows: int) -> tuple[Figure, list[tuple[Axes, str, str]]]:
    """A figure of column width with a titled panel per model and decoding, and (axes, model, decoding) of each.

    Panels share their axes; two stand side by side, and `legend_rows` lines are left for a legend below.
    """
    import matplotlib.pyplot as plt

    models = list(metrics.study.models)
    keys = [(model, decoding) for model in models for decoding in metrics.decodings]
    columns = min(2, len(keys))
    shape = math.ceil(len(keys) / columns), columns
    size = (COLUMN, 0.35 + 1.75 * shape[0] + 0.15 * legend_rows)
    figure, panels = plt.subplots(*shape, figsize=size, sharex=True, sharey=True, squeeze=False)
    titled = []
    for axes, (model, decoding) in zip(panels.flat, keys, strict=False):
        words = [model] * (len(models) > 1) + [decoding] * (len(metrics.decodings) > 1)
        axes.set_title(", ".join(words) or decoding)
        titled.append((axes, model, decoding))
    for axes in panels.flat[len(keys) :]:
        axes.set_visible(False)
    for axes in panels[-1]:
        axes.set_xlabel(x_label)
    for axes in panels[:, 0]:
        axes.set_ylabel(y_label)
    return figure, titled


def legend_below(figure: Figure, handles: Sequence[Any] | None = None) -> None:
    """A legend in two columns under the panels; by default of what the first panel shows."""
    legend_outside(figure, "outside lower center", handles, ncols=2)


def legend_outside(figure: Figure, where: str, handles: Sequence[Any] | None, ncols: int) -> None:
    """A legend beside the panels. Names that would make it wider than the figure go on in a next line, and the figure
    grows by these lines."""
    shown, labels = figure.axes[0].get_legend_handles_labels()
    if handles is not None:
        shown, labels = list(handles), [str(handle.get_label()) for handle in handles]
    look: dict[str, Any] = {"loc": where, "ncols": ncols, "handlelength": 2.6, "columnspacing": 1.2}
    legend = figure.legend(shown, labels, **look)
    if legend.get_window_extent(figure.canvas.get_renderer()).width <= figure.bbox.width:  # type: ignore[attr-defined]
        return
    legend.remove()
    room = figure.bbox.width / figure.dpi / ncols - LEGEND_LINE
    labels = [textwrap.fill(label, int(room / CHARACTER)) for label in labels]
    figure.legend(shown, labels, **look)
    lines = sum(label.count("\n") for label in labels)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + LINE * math.ceil(lines / ncols))


def _plain(data: pd.DataFrame) -> pd.DataFrame:
    """The same values, with text that no spreadsheet runs."""
    from pandas.api.types import is_numeric_dtype

    plain = data.rename(columns=lambda name: csv_text(str(name)))
    for name in plain.columns[[not is_numeric_dtype(kind) for kind in plain.dtypes]]:
        plain[name] = plain[name].astype(object).map(lambda value: csv_text(value) if isinstance(value, str) else value)
    return plain


def save(figure: Figure, data: pd.DataFrame, out: Path, name: str) -> None:
    """Write name.{pdf,svg,png} and name.csv with what was drawn; no dates, so equal data give equal bytes."""
    import matplotlib.pyplot as plt

    out.mkdir(parents=True, exist_ok=True)
    metadata: dict[str, dict[str, Any]] = {
        "pdf": {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": "mrsearch"},
        "svg": {"Date": None, "Creator": "mrsearch"},
        "png": {"Software": None},
    }
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the layout is found once, not once a format
    for kind in FIGURE_KINDS:
        if kind == "csv":
            write_text(out / f"{name}.csv", _plain(data).to_csv(index=False, float_format="%.6g", lineterminator="\n"))
            continue
        with atomic_file(out / f"{name}.{kind}") as draft:
            figure.savefig(draft, format=kind, metadata=metadata[kind])
    plt.close(figure)
