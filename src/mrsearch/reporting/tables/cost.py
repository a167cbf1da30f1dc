"""What a question costs under each method."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mrsearch.reporting.frame import Metrics, method_label, origin_note
from mrsearch.reporting.tables.methods import method_rows, put, title
from mrsearch.reporting.tables.table import Block, Table, TableCell, number

COSTS = {
    "searches": "Searches",
    "turns": "Turns",
    "generated_tokens": "Generated tokens",
    "total_tokens": "All tokens",
    "invalid_actions": "Invalid actions",
}
STOPS = {
    "answered": "Answered",
    "turn_limit": "Turn limit",
    "context_limit": "Context limit",
    "search_failed": "Search failed",
    "deadline": "Out of time",
    "agreed": "Agreed",
    "confident": "Sure",
}
RARE_STOPS = ("deadline", "agreed", "confident")
"""Shown where one of the study's meta-episodes ended so."""


def cost_table(metrics: Metrics) -> Table:
    """What a question costs under each method, whether its searches found the answer, and why meta-episodes ended."""
    hit, stops = f"hit@{metrics.study.retrieval.topk}", _shown_stops(metrics)
    header = ["Method", *COSTS.values(), f"{hit.capitalize()} (%)", *(f"{STOPS[stop]} (%)" for stop in stops)]
    blocks = []
    for decoding in metrics.decodings:
        for model in metrics.study.models:
            block = Block(title(metrics, model, decoding), group=decoding)
            for method in metrics.study.methods:
                key = (model, decoding, method)
                costs = [metrics.at(*key, "average", cost, "all").value for cost in COSTS]
                names = (hit, *(f"stop_{stop}" for stop in stops))
                shares = [metrics.at(*key, "average", name, "all").value for name in names]
                cells = [TableCell(number(value, digits=0 if value >= 100 else 2)) for value in costs]
                cells += [TableCell(number(value, 100)) for value in shares]
                block.rows.append([TableCell(method_label(metrics.study, method)), *cells])
            n = metrics.at(model, decoding, next(iter(metrics.study.methods)), "average", "searches", "all").n
            block.closing.append([TableCell("n"), TableCell(str(n)), *[TableCell("")] * (len(header) - 2)])
            blocks.append(block)
    notes = [
        "Means per question, unweighted over benchmarks. Generated tokens: those that left the transcript as well. All "
        "tokens: prompt, generated and observed.",
        f"{hit.capitalize()}: a gold answer stands in the first {metrics.study.retrieval.topk} passages of one of the "
        "method's own searches.",
        origin_note(metrics),
    ]
    return Table("cost", "Cost per question", header, blocks, notes)


def cost_rows(metrics: Metrics) -> Iterator[dict[str, Any]]:
    """The cost table with intervals, unrounded."""
    for row, key in method_rows(metrics):
        hits = [f"hit@{k}" for k in range(1, metrics.study.retrieval.topk + 1)]
        for cost in (*COSTS, "episodes_run", "search_failures", *hits, *(f"stop_{stop}" for stop in STOPS)):
            put(row, cost, metrics.at(*key, "average", cost, "all"))
        yield row


def _shown_stops(metrics: Metrics) -> list[str]:
    """The stop reasons that the cost table has columns for."""
    every = list(method_rows(metrics))
    return [
        stop
        for stop in STOPS
        if stop not in RARE_STOPS
        or any(metrics.at(*key, name, f"stop_{stop}", "all").value for _, key in every for name in metrics.columns)
    ]
