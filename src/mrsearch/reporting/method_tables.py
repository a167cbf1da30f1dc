"""Tables of methods against benchmarks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from mrsearch.reporting.frame import HEADLINE, Metrics, Value, benchmark_label, method_label, origin_note
from mrsearch.reporting.layout import Block, Mark, Table, TableCell, mark_best, number

SIGNIFICANT = 0.05
SCORE_NAMES = {"em": "EM", "f1": "F1"}
EMPTY = TableCell("")


def score_table(rows: Metrics, metric: str, name: str) -> Table:
    """Method by benchmark: the score of the last valid answer, its mean, relative improvement, searches and tokens."""
    study = rows.study
    baseline = method_label(study, study.report.baseline)
    header = ["Method", *(benchmark_label(study, column) for column in rows.columns)]
    coverage = f"({study.report.confidence:.0%} interval)"
    header += [f"Avg {coverage}", f"vs {baseline} {coverage}", "Searches", "Tokens"]
    blocks = [_score_block(rows, metric, model, decoding) for decoding in rows.decodings for model in study.models]
    caption = f"{study.title or study.name}: {SCORE_NAMES[metric]}"
    return Table(name, caption, header, blocks, _notes(rows, metric))


def score_rows(rows: Metrics, metric: str) -> Iterator[dict[str, Any]]:
    """The score table with every interval, unrounded: a row per model, decoding and method."""
    study = rows.study
    for row, place in places(rows):
        for column in rows.columns:
            put(row, column, rows.at(*place, column, metric, HEADLINE))
        if place[2] != study.report.baseline:
            put(row, "relative_improvement", _compared(rows, place, "average", f"{metric}_relative"))
            row["p"] = _compared(rows, place, "average", f"{metric}_p").value
        else:
            row.update(dict.fromkeys(("relative_improvement", "relative_improvement_low"), ""))
            row.update(dict.fromkeys(("relative_improvement_high", "p"), ""))
        for cost in ("searches", "generated_tokens", "total_tokens"):
            row[cost] = rows.at(*place, "average", cost, "all").value
        average = rows.at(*place, "average", metric, HEADLINE)
        yield {**row, "n": average.n, "seeds": average.seeds}


def extra_table(rows: Metrics) -> Table:
    """EM and F1 on each benchmark that stands outside the mean."""
    study = rows.study
    extra = [name for name, benchmark in study.benchmarks.items() if not benchmark.average]
    header = ["Method"]
    for name in extra:
        header += [f"{benchmark_label(study, name)} {score}" for score in SCORE_NAMES.values()]
    blocks = []
    for decoding in rows.decodings:
        for model in study.models:
            columns = [(name, metric) for name in extra for metric in SCORE_NAMES]
            blocks.append(_marked_block(rows, model, decoding, columns))
    return Table("extra", "Benchmarks outside the mean", header, blocks, _notes(rows, "em"))


def extra_rows(rows: Metrics) -> Iterator[dict[str, Any]]:
    """The extra table with intervals, unrounded."""
    for row, place in places(rows):
        for name, benchmark in rows.study.benchmarks.items():
            if not benchmark.average:
                for metric in SCORE_NAMES:
                    put(row, f"{name}_{metric}", rows.at(*place, name, metric, HEADLINE))
        yield row


def put(row: dict[str, Any], name: str, value: Value) -> None:
    """Add a value and its interval to a row."""
    row.update({name: value.value, f"{name}_low": value.low, f"{name}_high": value.high})


def interval_text(value: Value, confidence: float) -> str:
    """The interval of a share, in percent, for a page's hint."""
    return f"{confidence:.0%} interval {number(value.low, 100)} to {number(value.high, 100)}"


def places(rows: Metrics) -> Iterator[tuple[dict[str, Any], tuple[str, str, str]]]:
    """(the beginning of a table's row, (model, decoding, method)) of every method, in the order of the tables."""
    for place in itertools.product(rows.study.models, rows.decodings, rows.study.methods):
        model, decoding, method = place
        label = method_label(rows.study, method)
        yield {"model": model, "decoding": decoding, "method": method, "label": label}, place


def title(rows: Metrics, model: str, decoding: str) -> str:
    """How a block of a table is called."""
    return f"{model}, {decoding}" if len(rows.study.models) > 1 else decoding


def _marked_block(rows: Metrics, model: str, decoding: str, columns: list[tuple[str, str]]) -> Block:
    """Scores in percent with the best and second of each (benchmark, metric) column marked, and a last row with n."""
    study = rows.study
    block = Block(title(rows, model, decoding))
    values = {
        column: [rows.at(model, decoding, method, column[0], column[1], HEADLINE) for method in study.methods]
        for column in columns
    }
    texts = {column: [number(value.value, 100) for value in found] for column, found in values.items()}
    marks: dict[tuple[str, str], list[Mark]] = {column: mark_best(shown) for column, shown in texts.items()}
    for index, method in enumerate(study.methods):
        cells = [TableCell(method_label(study, method))]
        for column in columns:
            sign = _sign(rows, (model, decoding, method), *column)
            hint = interval_text(values[column][index], study.report.confidence)
            cells.append(TableCell(texts[column][index], marks[column][index], sign, hint))
        block.rows.append(cells)
    block.closing.append([TableCell("n"), *(TableCell(str(values[column][0].n)) for column in columns)])
    return block


def _score_block(rows: Metrics, metric: str, model: str, decoding: str) -> Block:
    block = _marked_block(rows, model, decoding, [(column, metric) for column in rows.columns])
    for method, cells in zip(rows.study.methods, block.rows, strict=True):
        place = (model, decoding, method)
        average = rows.at(*place, "average", metric, HEADLINE)
        cells.append(TableCell(f"[{number(average.low, 100)}, {number(average.high, 100)}]"))
        cells.append(TableCell(_relative(rows, place, metric)))
        for cost, digits in (("searches", 1), ("total_tokens", 0)):
            cells.append(TableCell(number(rows.at(*place, "average", cost, "all").value, digits=digits)))
    block.closing[0] += [EMPTY] * 4
    return block


def _sign(rows: Metrics, place: tuple[str, str, str], benchmark: str, metric: str) -> str:
    """A dagger where the paired test against the baseline is significant (Holm over benchmarks)."""
    if place[2] == rows.study.report.baseline:
        return ""
    test = f"{metric}_p" if benchmark == "average" else f"{metric}_p_holm"
    return "†" if _compared(rows, place, benchmark, test).value < SIGNIFICANT else ""


def _relative(rows: Metrics, place: tuple[str, str, str], metric: str) -> str:
    if place[2] == rows.study.report.baseline:
        return ""
    cell = _compared(rows, place, "average", f"{metric}_relative")
    shown = [number(value, 100, 1, sign=True) for value in (cell.value, cell.low, cell.high)]
    return shown[0] if shown[0] == "–" else f"{shown[0]} % [{shown[1]}, {shown[2]}]"


def _compared(rows: Metrics, place: tuple[str, str, str], benchmark: str, metric: str) -> Value:
    return rows.at(*place, benchmark, metric, HEADLINE, rows.study.report.baseline)


def _notes(rows: Metrics, metric: str) -> list[str]:
    study = rows.study
    baseline = method_label(study, study.report.baseline)
    outside = [benchmark_label(study, name) for name, benchmark in study.benchmarks.items() if not benchmark.average]
    if len(study.seeds) > 1:
        about_seeds = ", and a Student t term for the spread between seeds."
    else:
        about_seeds = "; one seed, so they say nothing about other seeds."
    parallel = any(method.context == "independent" and method.episodes > 1 for method in study.methods.values())
    votes = "; of parallel samples the most frequent answer" if parallel else ""
    return [
        f"{SCORE_NAMES[metric]} (%) of the last valid answer: the last episode that gave one, 0 where none did{votes}. "
        "Best in bold, second underlined.",
        "Avg is the unweighted mean over the benchmarks" + (f" but {', '.join(outside)}." if outside else "."),
        f"Intervals: {study.report.bootstrap_samples} bootstrap samples of questions, each with all its seeds"
        + about_seeds,
        f"† differs from {baseline} at p < {SIGNIFICANT} (sign-flip permutation over questions, Holm over benchmarks; "
        "Avg uncorrected). The test holds for the trained seeds.",
        "Searches and tokens (prompt, generated and observed) are means per question.",
        origin_note(rows),
    ]
