"""The table and the figure of a comparison."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mrsearch.config import digest
from mrsearch.evaluation.significance import holm
from mrsearch.reporting.compare.checks import refuse
from mrsearch.reporting.compare.rows import Row, StudyComparison
from mrsearch.reporting.compare.sources import Source, opened
from mrsearch.reporting.figures import style
from mrsearch.reporting.frame import benchmark_label
from mrsearch.reporting.tables.files import write_table
from mrsearch.reporting.tables.marks import SIGNIFICANT, SIGNS
from mrsearch.reporting.tables.table import Block, Table, TableCell, mark_best, number

NAME = "compare"
LETTER = 0.05
"""Width of a letter of a label, in inches."""


def write_comparison(
    addresses: Sequence[str], results: Path, out: Path, methods: Sequence[str] = (), despite: Sequence[str] = ()
) -> None:
    """Write compare.{csv,md,html,tex} and the figure compare-figure.{pdf,svg,png,csv} below `out`.

    addresses: studies by name below `results`, folders of results, or bundles. Questions are paired where they are the
    same. ValueError, which says why, for studies that cannot be compared: another protocol, split, index or decoding.
    """
    if len(addresses) < 2:
        raise ValueError(f"{len(addresses)} study is named: a comparison needs two or more")
    with opened(addresses, results) as sources:
        notes = refuse(sources, despite)
        comparison = StudyComparison(sources, methods)
        signs = _signs(comparison.rows)
        write_table(_table(comparison, signs, notes), _csv_rows(comparison), out)
        with style.styled():
            _figure(comparison, out)


def _signs(rows: list[Row]) -> dict[int, str]:
    """The sign of each row's difference, by the row's number."""
    tested = [(index, row.contrast) for index, row in enumerate(rows) if row.contrast is not None]
    corrected = holm([contrast.p for _, contrast in tested]) if tested else []
    return {
        index: SIGNS[contrast.basis] if p < SIGNIFICANT else ""
        for (index, contrast), p in zip(tested, corrected, strict=True)
    }


def _table(comparison: StudyComparison, signs: dict[int, str], differing: list[str]) -> Table:
    study = comparison.joint
    coverage = f"({study.report.confidence:.0%} interval)"
    labels = [benchmark_label(study, name) for name in comparison.columns]
    header = ["Study and method", *labels, f"Avg {coverage}", f"Difference {coverage}", "from"]
    blocks = []
    for decoding in comparison.decodings:
        rows = [(index, row) for index, row in enumerate(comparison.rows) if row.decoding == decoding]
        texts = {name: [number(row.values[name].value, 100) for _, row in rows] for name in comparison.columns}
        best = {name: mark_best(shown) for name, shown in texts.items()}
        block = Block(decoding, group=decoding)
        for position, (index, row) in enumerate(rows):
            cells = [TableCell(texts[name][position], best[name][position]) for name in comparison.columns]
            block.rows.append([TableCell(row.label), *cells, *_summary(row, signs.get(index, ""))])
        counts = [TableCell(str(rows[0][1].values[name].n)) for name in comparison.columns]
        block.closing.append([TableCell("n"), *counts, *[TableCell("")] * 3])
        blocks.append(block)
    caption = f"EM of {' and '.join(source.label for source in comparison.sources)}"
    return Table(NAME, caption, header, blocks, [*_notes(comparison, len(signs)), *differing])


def _summary(row: Row, sign: str) -> list[TableCell]:
    average = row.values["average"]
    mean = TableCell(f"[{number(average.low, 100)}, {number(average.high, 100)}]")
    if row.contrast is None:
        return [mean, TableCell(""), TableCell("")]
    shown = [number(value, 100, sign=True) for value in row.contrast.difference[:3]]
    return [mean, TableCell(f"{shown[0]} [{shown[1]}, {shown[2]}]", suffix=sign), TableCell(row.contrast.reference)]


def _notes(comparison: StudyComparison, tests: int) -> list[str]:
    first = comparison.sources[0]
    notes = [
        "EM (%) of the method's answer, on the questions that all of them ask; best in bold, second underlined.",
        f"Difference of the mean in points, question by question and, where both have it, seed by seed: from the same "
        f"method of {first.label}, or else from its baseline.",
        f"† and ° differ at p < {SIGNIFICANT}, Holm over the {tests} tests of this table; ° for these weights only, "
        "where at most one seed is shared.",
    ]
    for source in comparison.sources:
        absent = [name for name in source.study.benchmarks if name not in comparison.joint.benchmarks]
        absent += [name for name in source.study.evaluation.decoding if name not in comparison.decodings]
        if absent:
            notes.append(f"Not in every study, so left out of {source.label}: {', '.join(absent)}.")
        notes += [_fewer(comparison, source)] if _fewer(comparison, source) else []
        seeds, protocol = ", ".join(map(str, source.study.seeds)), digest(source.study.protocol)
        notes.append(f"{source.label}: {source.address}, seeds {seeds}, protocol {protocol}, {source.origin}.")
    return notes


def _fewer(comparison: StudyComparison, source: Source) -> str:
    """What a source asks beyond the shared questions."""
    scores, more = source.scores, []
    for name, questions in comparison.questions.items():
        count = scores.question_id[scores.benchmark == name].nunique()
        if count != len(questions):
            more.append(f"{count} of {benchmark_label(comparison.joint, name)}")
    return f"{source.label} asks more questions ({', '.join(more)}), which do not count here." if more else ""


def _csv_rows(comparison: StudyComparison) -> Iterator[dict[str, Any]]:
    for row in comparison.rows:
        for name in comparison.columns:
            value = row.values[name]
            keys = {"study": row.source.label, "model": row.model, "decoding": row.decoding, "method": row.method}
            line: dict[str, Any] = {**keys, "benchmark": name, "metric": "em", **value._asdict()}
            contrast = row.contrast if name == "average" else None
            line["compared_with"] = contrast.reference if contrast else ""
            ends = contrast.difference[:3] if contrast else ("", "", "")
            line |= dict(zip(("difference", "difference_low", "difference_high"), ends, strict=True))
            yield {**line, "p": contrast.p if contrast else ""}


def _figure(comparison: StudyComparison, out: Path) -> None:
    """The mean of every method with its interval, a panel per decoding, a colour per study."""
    import matplotlib.pyplot as plt

    count = max(sum(row.decoding == decoding for row in comparison.rows) for decoding in comparison.decodings)
    panels = len(comparison.decodings)
    width = LETTER * max(len(row.label) for row in comparison.rows) + style.COLUMN * panels / 2
    size = (max(style.COLUMN, width), 0.6 + 0.2 * count)
    figure, axes_of = plt.subplots(1, panels, figsize=size, sharey=True, squeeze=False)
    drawn = []
    for axes, decoding in zip(axes_of[0], comparison.decodings, strict=True):
        rows = [row for row in comparison.rows if row.decoding == decoding]
        for position, row in enumerate(rows):
            index = comparison.sources.index(row.source) % len(style.COLORS)
            value, low, high = (100 * number for number in row.values["average"][:3])
            axes.plot([low, high], [position, position], color=style.COLORS[index])
            axes.plot([value], [position], color=style.COLORS[index], marker=style.MARKERS[index], linestyle="none")
            keys = {"study": row.source.label, "model": row.model, "decoding": decoding, "method": row.method}
            drawn.append({**keys, "value": value, "low": low, "high": high})
        axes.set_yticks(range(len(rows)), [row.label for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel("EM (%)")
        axes.set_title(decoding)
    style.save(figure, pd.DataFrame(drawn), out, f"{NAME}-figure")
