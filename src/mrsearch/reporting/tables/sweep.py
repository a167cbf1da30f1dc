"""A sweep's methods, and the mean and spread by value."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from mrsearch.reporting.frame import Metrics, method_label, origin_note
from mrsearch.reporting.sweeps import METRIC, by_value, points, sweeps
from mrsearch.reporting.tables import marks
from mrsearch.reporting.tables.methods import put, title
from mrsearch.reporting.tables.table import Block, Table, TableCell, mark_best, number


def sweep_table(metrics: Metrics) -> Table:
    """Mean EM of every point with its interval and what its seeds reach; then, by value, mean and spread over all
    points and seeds with that value."""
    study = metrics.study
    coverage = f"({study.report.confidence:.0%} interval)"
    header = ["Method or value", "Avg", f"Avg {coverage}", "sd", "Lowest", "Highest", "Runs"]
    blocks = []
    for decoding in metrics.decodings:
        for model in study.models:
            for sweep in sweeps(study):
                swept = points(metrics, model, decoding, sweep)
                block = Block(f"{title(metrics, model, decoding)}: {sweep}", group=decoding)
                best = mark_best([number(point.mean.value, 100) for point in swept])
                for point, mark in zip(swept, best, strict=True):
                    ends = f"[{number(point.mean.low, 100)}, {number(point.mean.high, 100)}]"
                    mean = TableCell(number(point.mean.value, 100), mark)
                    label = TableCell(method_label(study, point.method))
                    block.rows.append([label, mean, TableCell(ends), *_spread(point.by_seed)])
                for key, value, scores in by_value(swept):
                    mean = TableCell(number(statistics.fmean(scores), 100))
                    block.closing.append([TableCell(f"{key} = {value}"), mean, TableCell(""), *_spread(scores)])
                blocks.append(block)
    notes = [
        "EM (%), the unweighted mean over the benchmarks; of the points, best in bold and second underlined.",
        "sd, lowest and highest are over runs: the seeds of a point, or all points and seeds with a value. They "
        "describe these runs and test nothing: the best of many points is partly luck.",
        marks.interval_note(study),
        origin_note(metrics),
    ]
    return Table("sweep", f"Sweep{marks.seeds_note(study)}", header, blocks, notes)


def sweep_rows(metrics: Metrics) -> Iterator[dict[str, Any]]:
    """The table unrounded: a row per model, decoding and point, then per value."""
    for model in metrics.study.models:
        for decoding in metrics.decodings:
            for sweep in sweeps(metrics.study):
                swept = points(metrics, model, decoding, sweep)
                start = {"model": model, "decoding": decoding, "sweep": sweep}
                for point in swept:
                    settings = ", ".join(f"{key} {value}" for key, value in point.values.items())
                    row: dict[str, Any] = {**start, "method": point.method, "key": "", "setting": settings}
                    put(row, METRIC, point.mean)
                    yield {**row, **_numbers(point.by_seed)}
                for key, value, scores in by_value(swept):
                    row = {**start, "method": "", "key": key, "setting": value, METRIC: statistics.fmean(scores)}
                    yield {**row, f"{METRIC}_low": "", f"{METRIC}_high": "", **_numbers(scores)}


def _spread(scores: list[float]) -> list[TableCell]:
    numbers = _numbers(scores)
    shown = [numbers["sd"], numbers["lowest"], numbers["highest"]]
    return [*(TableCell(number(value, 100)) for value in shown), TableCell(str(numbers["runs"]))]


def _numbers(scores: list[float]) -> dict[str, Any]:
    spread = statistics.stdev(scores) if len(scores) > 1 else float("nan")
    return {"sd": spread, "lowest": min(scores), "highest": max(scores), "runs": len(scores)}
