"""The tables of a study, from `metrics.parquet` alone."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mrsearch.config import Study, digest
from mrsearch.reporting.frame import Metrics, benchmark_label, method_label
from mrsearch.reporting.layout import (
    Block,
    Mark,
    Table,
    TableCell,
    mark_best,
    number,
    to_latex,
    to_markdown,
    write_text,
)

EPISODE = "last_valid"
SIGNIFICANT = 0.05


def write_tables(study: Study, metrics: Path, out: Path) -> None:
    """Write main.{csv,md,tex} and episodes.csv below `out`; the same metrics give the same bytes."""
    rows = Metrics(study, metrics)
    table = main_table(rows)
    write_text(out / "main.csv", _csv(main_rows(rows)))
    write_text(out / "main.md", to_markdown(table))
    write_text(out / "main.tex", to_latex(table))
    write_text(out / "episodes.csv", _csv(episode_rows(rows)))


def main_table_text(study: Study, metrics: Path) -> str:
    """The main table for a terminal, best in bold and second best underlined."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    table = main_table(Metrics(study, metrics))
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, color_system="standard", width=160)
    style = {Mark.best: "bold", Mark.second: "underline", Mark.none: ""}
    for block in table.blocks:
        rich = RichTable(title=block.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
        for index, name in enumerate(table.header):
            header = name if index == 0 else name.replace(" ", "\n", 1)
            rich.add_column(header, justify="right" if index else "left", vertical="bottom")
        for row in block.rows:
            rich.add_row(*(Text.assemble((cell.text, style[cell.mark]), cell.suffix) for cell in row))
        rich.add_section()
        for row in block.closing:
            rich.add_row(*(cell.text for cell in row))
        console.print(rich)
    for note in table.notes:
        console.print(note, highlight=False, markup=False)
    return shown.getvalue()


def main_table(rows: Metrics) -> Table:
    """Method by benchmark: EM of the last valid answer, mean, relative improvement, searches and tokens."""
    study = rows.study
    baseline = method_label(study, study.report.baseline)
    level = f"{study.report.confidence:.0%}"
    header = ["Method", *(benchmark_label(study, name) for name in rows.columns)]
    header += [f"vs {baseline} ({level} interval)", "Searches", "Tokens"]
    blocks = [_main_block(rows, model, decoding) for decoding in rows.decodings for model in study.models]
    return Table("main", study.title or study.name, header, blocks, _notes(rows))


def main_rows(rows: Metrics) -> Iterable[dict[str, Any]]:
    """The main table with every interval, unrounded: a row per model, decoding and method."""
    study = rows.study
    for decoding in rows.decodings:
        for model in study.models:
            for method in study.methods:
                place = (model, decoding, method)
                row: dict[str, Any] = {"model": model, "decoding": decoding, "method": method}
                row["label"] = method_label(study, method)
                for name in rows.columns:
                    _put(row, name, rows.at(*place, name, "em", EPISODE))
                if method != study.report.baseline:
                    relative = rows.at(*place, "average", "em_relative", EPISODE, study.report.baseline)
                    _put(row, "relative_improvement", relative)
                    row["p"] = rows.at(*place, "average", "em_p", EPISODE, study.report.baseline).value
                else:
                    row.update(dict.fromkeys(("relative_improvement", "relative_improvement_low"), ""))
                    row.update(dict.fromkeys(("relative_improvement_high", "p"), ""))
                for metric in ("searches", "generated_tokens", "total_tokens"):
                    row[metric] = rows.at(*place, "average", metric, "all").value
                average = rows.at(*place, "average", "em", EPISODE)
                yield {**row, "n": int(average.n), "seeds": int(average.seeds)}


def episode_rows(rows: Metrics) -> Iterable[dict[str, Any]]:
    """EM by episode, and how answers changed since the episode before: a row per place and episode."""
    study = rows.study
    for decoding in rows.decodings:
        for model in study.models:
            for method, settings in study.methods.items():
                for name in rows.columns:
                    for episode in range(1, settings.episodes + 1):
                        place = (model, decoding, method, name)
                        row: dict[str, Any] = {"model": model, "decoding": decoding, "method": method}
                        row.update({"benchmark": name, "episode": episode})
                        for metric in ("em", "f1", "searches", "generated_tokens"):
                            _put(row, metric, rows.at(*place, metric, str(episode)))
                        for metric in ("corrected", "corrupted", "kept"):
                            change = rows.at(*place, metric, str(episode)) if episode > 1 else None
                            row[metric] = "" if change is None else change.value
                        em = rows.at(*place, "em", str(episode))
                        yield {**row, "n": int(em.n), "seeds": int(em.seeds)}


def _main_block(rows: Metrics, model: str, decoding: str) -> Block:
    study = rows.study
    columns = {
        name: [rows.at(model, decoding, method, name, "em", EPISODE) for method in study.methods]
        for name in rows.columns
    }
    texts = {name: [number(cell.value, 100) for cell in cells] for name, cells in columns.items()}
    marks = {name: mark_best(shown) for name, shown in texts.items()}
    block = Block(f"{model}, {decoding}" if len(study.models) > 1 else decoding)
    for index, method in enumerate(study.methods):
        cells = [TableCell(method_label(study, method))]
        for name in rows.columns:
            cells.append(TableCell(texts[name][index], marks[name][index], _sign(rows, model, decoding, method, name)))
        cells.append(TableCell(_relative(rows, model, decoding, method)))
        for metric in ("searches", "total_tokens"):
            value = rows.at(model, decoding, method, "average", metric, "all").value
            cells.append(TableCell(number(value, digits=1 if metric == "searches" else 0)))
        block.rows.append(cells)
    counts = [TableCell(str(int(columns[name][0].n))) for name in rows.columns]
    block.closing.append([TableCell("n"), *counts, TableCell(""), TableCell(""), TableCell("")])
    return block


def _sign(rows: Metrics, model: str, decoding: str, method: str, benchmark: str) -> str:
    """A dagger where the paired test against the baseline is significant (Holm over benchmarks)."""
    baseline = rows.study.report.baseline
    if method == baseline:
        return ""
    metric = "em_p" if benchmark == "average" else "em_p_holm"
    p_value = rows.at(model, decoding, method, benchmark, metric, EPISODE, baseline).value
    return "†" if p_value < SIGNIFICANT else ""


def _relative(rows: Metrics, model: str, decoding: str, method: str) -> str:
    baseline = rows.study.report.baseline
    if method == baseline:
        return ""
    cell = rows.at(model, decoding, method, "average", "em_relative", EPISODE, baseline)
    shown = [number(value, 100, 1, sign=True) for value in (cell.value, cell.low, cell.high)]
    return shown[0] if shown[0] == "–" else f"{shown[0]} % [{shown[1]}, {shown[2]}]"


def _notes(rows: Metrics) -> list[str]:
    study = rows.study
    baseline = method_label(study, study.report.baseline)
    outside = [benchmark_label(study, name) for name, benchmark in study.benchmarks.items() if not benchmark.average]
    seeds = ", ".join(map(str, study.seeds))
    if len(study.seeds) > 1:
        about_seeds = ", and a Student t term for the spread between seeds."
    else:
        about_seeds = "; one seed, so they say nothing about other seeds."
    return [
        "EM (%) of the last valid answer: the last episode that gave one, 0 where none did. Best in bold, second "
        "underlined.",
        "Avg is the unweighted mean over the benchmarks" + (f" but {', '.join(outside)}." if outside else "."),
        f"Intervals: {study.report.bootstrap_samples} bootstrap samples of questions, each with all its seeds"
        + about_seeds,
        f"† differs from {baseline} at p < {SIGNIFICANT} (sign-flip permutation over questions, Holm over benchmarks; "
        "Avg uncorrected). The test holds for the trained seeds.",
        "Searches and tokens (prompt, generated and observed) are means per question.",
        f"Study {study.name}, seeds {seeds}, protocol {digest(study.protocol)}.",
    ]


def _put(row: dict[str, Any], name: str, cell: Any) -> None:
    row.update({name: cell.value, f"{name}_low": cell.low, f"{name}_high": cell.high})


def _csv(rows: Iterable[dict[str, Any]]) -> str:
    """Rows as CSV; numbers to 6 significant digits."""
    listed = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(listed[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _plain(value) for key, value in row.items()} for row in listed)
    return text.getvalue()


def _plain(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
