"""One figure a stage: CPU seconds and peak memory over size, from the CSV that `volumes.py` and `full_size.py` wrote.

    python benchmarks/draw_scaling.py benchmarks/scaling.csv docs/figures

Beside the measurements stands the line through the smallest and the largest one up to the size of the paper: 1,062,240
records of one seed, 14,267 of its largest file, or 21,015,324 passages. Prints the arithmetic as rows of a Markdown
table.
"""

# ruff: noqa: T201  (a script that prints its arithmetic)
from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

RECORDS, FILE_RECORDS, PASSAGES = 1_062_240, 14_267, 21_015_324
RECORD_STAGES = ("report viewer", "report metrics", "aggregation alone")
FILE_STAGES = ("records written", "records read")
"""What happens to one file of records at a time."""
MEASURES = {"cpu_s": ("CPU seconds", 1.0), "peak_bytes": ("Peak memory (GB)", 1e-9)}


def line_through(sizes: list[float], values: list[float], target: int) -> float:
    """The value at `target` of the line through the smallest and the largest size; level where values do not grow."""
    slope = max(0.0, (values[-1] - values[0]) / (sizes[-1] - sizes[0]))
    return values[-1] + slope * (target - sizes[-1])


def draw(stage: str, rows: pd.DataFrame, out: Path) -> None:
    target = RECORDS if stage in RECORD_STAGES else FILE_RECORDS if stage in FILE_STAGES else PASSAGES
    what = "passages" if target == PASSAGES else "records"
    figure = Figure(figsize=(7.2, 2.6), layout="constrained")
    sizes = rows["size"].tolist()
    texts = []
    for axes, (measure, (label, scale)) in zip(figure.subplots(1, 2), MEASURES.items(), strict=True):
        values = (rows[measure] * scale).tolist()
        reached = line_through(sizes, values, target)
        axes.plot(sizes, values, "o", color="#0072b2", label="measured")
        axes.plot([sizes[0], target], [values[0], reached], "--", color="#888888", label="their line")
        axes.set(xscale="log", yscale="log", xlabel=what, ylabel=label)
        axes.grid(alpha=0.3)
        texts.append(f"{values[0]:,.2f} to {values[-1]:,.2f}, at {target:,}: {reached:,.3g}")
    axes.legend(frameon=False)
    figure.suptitle(stage)
    figure.savefig(out / f"volume-{stage.replace(' ', '-')}.svg", metadata={"Date": None})
    print(f"| {stage} | {sizes[0]:,} to {sizes[-1]:,} | {' | '.join(texts)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    mpl.rcParams["svg.hashsalt"] = "mrsearch"
    for stage, rows in pd.read_csv(arguments.csv).groupby("stage", sort=False):
        if rows["size"].nunique() < 2:
            print(f"{stage}: one size alone makes no line")
        else:
            draw(str(stage), rows.sort_values("size"), arguments.out)


if __name__ == "__main__":
    main()
