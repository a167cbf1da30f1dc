"""Test-time scaling: what a method answers after 1, 2, ... episodes, and what that cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mrsearch.config import Study
from mrsearch.reporting.frame import Metrics, Value, method_label, origin_note
from mrsearch.reporting.tables.table import Block, Mark, Table, TableCell, mark_best, number

SHOWN = (1, 2, 3, 5, 10, 20, 50)
"""Numbers of episodes that the table has columns for, and the largest of the study."""


@dataclass(frozen=True, slots=True)
class Point:
    """A method after `episodes` episodes; costs are means per question up to there."""

    episodes: int
    em: Value
    """EM of what the method answers then: the vote of parallel samples, else the last valid answer."""
    best: Value
    """EM of the best answer so far; of parallel samples pass@k."""
    generated_tokens: float
    searches: float


def scaled(study: Study) -> list[str]:
    """Methods of several episodes."""
    return [name for name, method in study.methods.items() if method.episodes > 1]


def stops_early(study: Study, method: str) -> bool:
    """Whether the method ends before its last episode where it has reason to."""
    settings = study.methods[method]
    return settings.stop_after_agreeing is not None or settings.stop_when_confident is not None


def points(metrics: Metrics, model: str, decoding: str, method: str, benchmark: str = "average") -> list[Point]:
    """A point per number of episodes."""
    key = (model, decoding, method, benchmark)
    settings = metrics.study.methods[method]
    answer = "em_vote" if settings.context == "independent" else "em_last_valid"
    curve, tokens, searches = [], 0.0, 0.0
    for count in range(1, settings.episodes + 1):
        tokens += metrics.at(*key, "generated_tokens", str(count)).value
        searches += metrics.at(*key, "searches", str(count)).value
        em, best = (metrics.at(*key, metric, str(count)) for metric in (answer, "em_best"))
        curve.append(Point(count, em, best, tokens, searches))
    return curve


def scaling_table(metrics: Metrics) -> Table:
    """EM after some numbers of episodes, at equal tokens, and the cost of all episodes."""
    study = metrics.study
    methods = scaled(study)
    longest = max(study.methods[method].episodes for method in methods)
    counts = [count for count in SHOWN if count < longest] + [longest]
    header = ["Method", *(f"EM after {count}" for count in counts), "EM at equal tokens", f"Best of {longest}"]
    header += ["Episodes", "Tokens", "Searches"]
    blocks, budgets = [], []
    for decoding in metrics.decodings:
        for model in study.models:
            curves = {method: points(metrics, model, decoding, method) for method in methods}
            budget = _budget(study, curves, longest)
            budgets.append(number(budget, digits=0))
            title = f"{model}, {decoding}" if len(study.models) > 1 else decoding
            blocks.append(_block(metrics, (model, decoding), title, curves, counts, budget))
    notes = [
        "EM (%) of what the method answers after that many episodes: the vote of parallel samples, else the last valid "
        "answer; means over benchmarks. Best in bold, second underlined.",
        "A meta-episode that ended early keeps its last answer. Episodes: how many ran on average.",
        f"EM at equal tokens: after as many episodes as {' and '.join(budgets)} generated tokens pay for, the cost of "
        f"the cheapest method that always runs {longest} episodes.",
        "Best: of a sequence, whether any answer was right; of parallel samples, pass@k.",
        origin_note(metrics),
    ]
    return Table("scaling", "Test-time scaling", header, blocks, notes)


def scaling_rows(metrics: Metrics) -> Iterator[dict[str, Any]]:
    """The curves, unrounded: a row per model, decoding, method, benchmark and number of episodes."""
    for model, decoding, method, benchmark in metrics.cells():
        if method not in scaled(metrics.study):
            continue
        for point in points(metrics, model, decoding, method, benchmark):
            row: dict[str, Any] = {"model": model, "decoding": decoding, "method": method, "benchmark": benchmark}
            row |= {"episodes": point.episodes, "em": point.em.value, "em_low": point.em.low, "em_high": point.em.high}
            row |= {"best": point.best.value, "generated_tokens": point.generated_tokens, "searches": point.searches}
            yield {**row, "n": point.em.n, "seeds": point.em.seeds}


def _budget(study: Study, curves: dict[str, list[Point]], longest: int) -> float:
    """Tokens of the cheapest method that always runs the largest number of episodes; of any, where none does."""
    ends = {method: curve[-1].generated_tokens for method, curve in curves.items() if len(curve) == longest}
    complete = [tokens for method, tokens in ends.items() if not stops_early(study, method)]
    return min(complete or ends.values())


def _block(
    metrics: Metrics,
    key: tuple[str, str],
    title: str,
    curves: dict[str, list[Point]],
    counts: list[int],
    budget: float,
) -> Block:
    columns: list[list[str]] = []
    for count in counts:
        columns.append([_percent(curve[count - 1].em) if count <= len(curve) else "" for curve in curves.values()])
    paid = [[point for point in curve if point.generated_tokens <= budget + 1e-9] for curve in curves.values()]
    columns.append([_percent(affordable[-1].em) if affordable else "–" for affordable in paid])
    columns.append([_percent(curve[-1].best) if len(curve) == counts[-1] else "" for curve in curves.values()])
    marks = [mark_best(column) for column in columns]
    block = Block(title)
    for index, (method, curve) in enumerate(curves.items()):
        cells = [TableCell(method_label(metrics.study, method))]
        cells += [TableCell(column[index], mark[index]) for column, mark in zip(columns, marks, strict=True)]
        ran = metrics.at(*key, method, "average", "episodes_run", "all").value
        costs = ((ran, 1), (curve[-1].generated_tokens, 0), (curve[-1].searches, 1))
        cells += [TableCell(number(value, digits=digits), Mark.none) for value, digits in costs]
        block.rows.append(cells)
    return block


def _percent(value: Value) -> str:
    return number(value.value, 100)
