"""Tables of methods against benchmarks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from mrsearch.config.report import NAMED_COLUMNS
from mrsearch.evaluation.choices import HEADLINE
from mrsearch.reporting.frame import Metrics, Value, benchmark_label, method_label, origin_note
from mrsearch.reporting.tables import faithful, marks
from mrsearch.reporting.tables.marks import Comparison, Significance
from mrsearch.reporting.tables.table import Block, Table, TableCell, number
from mrsearch.reporting.tables.view import View, view_of

SCORE_NAMES = {"em": "EM", "f1": "F1"}
EMPTY = TableCell("")
COSTS = {"searches": "searches", "tokens": "total_tokens"}
"""Metrics of the columns that are costs."""
Tests = dict[Comparison, Significance]


def score_table(metrics: Metrics, metric: str, name: str) -> Table:
    """Method by benchmark: the score of the last valid answer, its mean, relative improvement, searches and tokens; of
    these what `report.tables` names for the table."""
    study, view = metrics.study, view_of(metrics, name)
    signs = marks.tests(
        metrics,
        [
            comparison
            for comparison in marks.against_baseline(metrics, [(column, metric) for column in view.scores])
            if comparison.method in view.methods and comparison.decoding in view.decodings
        ],
    )
    blocks = [
        _score_block(metrics, metric, model, decoding, view, signs)
        for decoding in view.decodings
        for model in study.models
    ]
    caption = f"{study.title or study.name}: {SCORE_NAMES[metric]}{marks.seeds_note(study)}"
    header = ["Method", *(_heading(metrics, column) for column in view.columns)]
    return Table(name, caption, header, blocks, [*_notes(metrics, metric, signs, view), *view.sources])


def score_rows(metrics: Metrics, metric: str, name: str) -> Iterator[dict[str, Any]]:
    """The score table with every interval and p-value, unrounded: a row per model, decoding and method. Of the columns
    that a study names alone, those that `report.tables` names for the table.

    `<column>_p` is the test against the baseline, `<column>_p_holm` corrected over all tests of the table.
    """
    signs = _tests(metrics, [(column, metric) for column in metrics.columns])
    further_columns = faithful.named_columns(view_of(metrics, name).columns)
    for row, key in method_rows(metrics):
        for column in metrics.columns:
            put(row, column, metrics.at(*key, column, metric, HEADLINE))
            test = signs.get(_against_baseline(metrics, key, column, metric))
            row |= {f"{column}_p": test.p if test else "", f"{column}_p_holm": test.corrected if test else ""}
        if key[2] != metrics.study.report.baseline:
            put(row, "relative_improvement", _compared(metrics, key, "average", f"{metric}_relative"))
        else:
            row |= {f"relative_improvement{end}": "" for end in ("", "_low", "_high")}
        for cost in ("searches", "generated_tokens", "total_tokens"):
            row[cost] = metrics.at(*key, "average", cost, "all").value
        for column in further_columns:
            put(row, column, faithful.named_value(metrics, key, column))
        average = metrics.at(*key, "average", metric, HEADLINE)
        yield {**row, "n": average.n, "seeds": average.seeds}


def tidy_rows(metrics: Metrics, metric: str) -> Iterator[dict[str, Any]]:
    """The same numbers in a row per model, decoding, method and benchmark; costs stand in the table `cost`.

    `difference` and `relative_improvement` are against the baseline; `p_questions` is the test over questions alone.
    """
    signs = _tests(metrics, [(column, metric) for column in metrics.columns])
    for start, key in method_rows(metrics):
        for column in metrics.columns:
            value = metrics.at(*key, column, metric, HEADLINE)
            row = {**start, "benchmark": column, "metric": metric}
            put(row, "value", value)
            row |= {"n": value.n, "seeds": value.seeds, "baseline": metrics.study.report.baseline}
            test = signs.get(_against_baseline(metrics, key, column, metric))
            for name, suffix in (("difference", "difference"), ("relative_improvement", "relative")):
                if test:
                    put(row, name, _compared(metrics, key, column, f"{metric}_{suffix}"))
                else:
                    row |= {f"{name}{end}": "" for end in ("", "_low", "_high")}
            shown = (test.p, test.corrected, test.over_questions, test.sign) if test else ("",) * 4
            yield {**row, **dict(zip(("p", "p_holm", "p_questions", "mark"), shown, strict=True))}


def extra_table(metrics: Metrics) -> Table:
    """EM and F1 on each benchmark that stands outside the mean."""
    study = metrics.study
    extra = [name for name, benchmark in study.benchmarks.items() if not benchmark.average]
    header = ["Method"]
    for name in extra:
        header += [f"{benchmark_label(study, name)} {score}" for score in SCORE_NAMES.values()]
    columns = [(name, metric) for name in extra for metric in SCORE_NAMES]
    signs, view = _tests(metrics, columns), view_of(metrics, "extra")
    blocks = [
        _marked_block(metrics, model, decoding, columns, signs, view)
        for decoding in metrics.decodings
        for model in study.models
    ]
    caption = f"Benchmarks outside the mean{marks.seeds_note(study)}"
    return Table("extra", caption, header, blocks, _notes(metrics, "em", signs, view))


def extra_rows(metrics: Metrics) -> Iterator[dict[str, Any]]:
    """The extra table with intervals, unrounded."""
    for row, key in method_rows(metrics):
        for name, benchmark in metrics.study.benchmarks.items():
            if not benchmark.average:
                for metric in SCORE_NAMES:
                    put(row, f"{name}_{metric}", metrics.at(*key, name, metric, HEADLINE))
        yield row


def put(row: dict[str, Any], name: str, value: Value) -> None:
    """Add a value and its interval to a row."""
    row.update({name: value.value, f"{name}_low": value.low, f"{name}_high": value.high})


def interval_text(value: Value, confidence: float) -> str:
    """The interval of a share, in percent, for a page's hint."""
    return f"{confidence:.0%} interval {number(value.low, 100)} to {number(value.high, 100)}"


def method_rows(metrics: Metrics) -> Iterator[tuple[dict[str, Any], tuple[str, str, str]]]:
    """(the beginning of a table's row, (model, decoding, method)) of every method, in the order of the tables."""
    for key in itertools.product(metrics.study.models, metrics.decodings, metrics.study.methods):
        model, decoding, method = key
        label = method_label(metrics.study, method)
        yield {"model": model, "decoding": decoding, "method": method, "label": label}, key


def title(metrics: Metrics, model: str, decoding: str) -> str:
    """How a block of a table is called."""
    return f"{model}, {decoding}" if len(metrics.study.models) > 1 else decoding


def _marked_block(
    metrics: Metrics, model: str, decoding: str, columns: list[tuple[str, str]], signs: Tests, view: View
) -> Block:
    """Scores in percent with the best and second of each (benchmark, metric) column marked, and a last row with n."""
    study = metrics.study
    block = Block(title(metrics, model, decoding), group=decoding)
    values = {
        column: [metrics.at(model, decoding, method, column[0], column[1], HEADLINE) for method in view.methods]
        for column in columns
    }
    texts = {column: [number(value.value, 100) for value in of_column] for column, of_column in values.items()}
    best = {column: view.marked(shown) for column, shown in texts.items()}
    for index, method in enumerate(view.methods):
        cells = [TableCell(method_label(study, method))]
        for column in columns:
            test = signs.get(_against_baseline(metrics, (model, decoding, method), *column))
            hint = interval_text(values[column][index], study.report.confidence)
            cells.append(TableCell(texts[column][index], best[column][index], test.sign if test else "", hint))
        block.rows.append(cells)
    block.closing.append([TableCell("n"), *(TableCell(str(values[column][0].n)) for column in columns)])
    return block


def _score_block(metrics: Metrics, metric: str, model: str, decoding: str, view: View, signs: Tests) -> Block:
    block = _marked_block(metrics, model, decoding, [(column, metric) for column in view.scores], signs, view)
    for index, (method, cells) in enumerate(zip(view.methods, block.rows, strict=True)):
        key = (model, decoding, method)
        by_column = dict(zip(view.scores, cells[1:], strict=True)) | _summary(metrics, key, metric)
        by_column |= faithful.cells(metrics, key, view.columns)
        block.rows[index] = [cells[0], *(by_column[column] for column in view.columns)]
    count = dict(zip(view.scores, block.closing[0][1:], strict=True))
    block.closing[0] = [TableCell("n"), *(count.get(column, EMPTY) for column in view.columns)]
    block.closing += view.external_rows()
    return block


def _summary(metrics: Metrics, key: tuple[str, str, str], metric: str) -> dict[str, TableCell]:
    """What a score table has beside scores."""
    average = metrics.at(*key, "average", metric, HEADLINE)
    costs = {name: metrics.at(*key, "average", cost, "all").value for name, cost in COSTS.items()}
    return {
        "interval": TableCell(f"[{number(average.low, 100)}, {number(average.high, 100)}]"),
        "relative_improvement": TableCell(_relative(metrics, key, metric)),
        "searches": TableCell(number(costs["searches"])),
        "tokens": TableCell(number(costs["tokens"], digits=0)),
    }


def _heading(metrics: Metrics, column: str) -> str:
    coverage = f"({metrics.study.report.confidence:.0%} interval)"
    headings = {
        "interval": f"Avg {coverage}",
        "relative_improvement": f"vs {method_label(metrics.study, metrics.study.report.baseline)} {coverage}",
        "searches": "Searches",
        "tokens": "Tokens",
    }
    if column in NAMED_COLUMNS:
        return faithful.heading(metrics, column)
    return headings.get(column) or benchmark_label(metrics.study, column)


def _tests(metrics: Metrics, columns: list[tuple[str, str]]) -> Tests:
    return marks.tests(metrics, marks.against_baseline(metrics, columns))


def _against_baseline(metrics: Metrics, key: tuple[str, str, str], benchmark: str, metric: str) -> Comparison:
    return Comparison(*key, benchmark, metric, metrics.study.report.baseline)


def _relative(metrics: Metrics, key: tuple[str, str, str], metric: str) -> str:
    if key[2] == metrics.study.report.baseline:
        return ""
    cell = _compared(metrics, key, "average", f"{metric}_relative")
    shown = [number(value, 100, 1, sign=True) for value in (cell.value, cell.low, cell.high)]
    return shown[0] if shown[0] == "–" else f"{shown[0]} % [{shown[1]}, {shown[2]}]"


def _compared(metrics: Metrics, key: tuple[str, str, str], benchmark: str, metric: str) -> Value:
    return metrics.at(*key, benchmark, metric, HEADLINE, metrics.study.report.baseline)


def _notes(metrics: Metrics, metric: str, signs: Tests, view: View) -> list[str]:
    study = metrics.study
    outside = [benchmark_label(study, name) for name, benchmark in study.benchmarks.items() if not benchmark.average]
    parallel = any(method.context == "independent" and method.episodes > 1 for method in study.methods.values())
    votes = "; of parallel samples the most frequent answer" if parallel else ""
    costs = "Searches and tokens (prompt, generated and observed) are means per question."
    return [
        f"{SCORE_NAMES[metric]} (%) of the last valid answer: the last episode that gave one, 0 where none did{votes}. "
        + view.mark_note(metrics),
        "Avg is the unweighted mean over the benchmarks" + (f" but {', '.join(outside)}." if outside else "."),
        marks.interval_note(study),
        *marks.mark_notes(study, signs, method_label(study, study.report.baseline)),
        *([costs] if {"searches", "tokens"} & set(view.columns) else []),
        *faithful.notes(metrics, view.columns),
        origin_note(metrics),
    ]
