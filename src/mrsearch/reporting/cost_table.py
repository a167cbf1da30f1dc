"""What a question costs under each method."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mrsearch.reporting.frame import Metrics, method_label, origin_note
from mrsearch.reporting.layout import Block, Table, TableCell, number
from mrsearch.reporting.method_tables import places, put, title

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


def cost_table(rows: Metrics) -> Table:
    """What a question costs under each method, whether its searches found the answer, and why meta-episodes ended."""
    hit, stops = f"hit@{rows.study.retrieval.topk}", _shown_stops(rows)
    header = ["Method", *COSTS.values(), f"{hit.capitalize()} (%)", *(f"{STOPS[stop]} (%)" for stop in stops)]
    blocks = []
    for decoding in rows.decodings:
        for model in rows.study.models:
            block = Block(title(rows, model, decoding))
            for method in rows.study.methods:
                place = (model, decoding, method)
                costs = [rows.at(*place, "average", cost, "all").value for cost in COSTS]
                names = (hit, *(f"stop_{stop}" for stop in stops))
                shares = [rows.at(*place, "average", name, "all").value for name in names]
                cells = [TableCell(number(value, digits=0 if value >= 100 else 2)) for value in costs]
                cells += [TableCell(number(value, 100)) for value in shares]
                block.rows.append([TableCell(method_label(rows.study, method)), *cells])
            n = rows.at(model, decoding, next(iter(rows.study.methods)), "average", "searches", "all").n
            block.closing.append([TableCell("n"), TableCell(str(n)), *[TableCell("")] * (len(header) - 2)])
            blocks.append(block)
    notes = [
        "Means per question, unweighted over benchmarks. Generated tokens: those that left the transcript as well. All "
        "tokens: prompt, generated and observed.",
        f"{hit.capitalize()}: a gold answer stands in the first {rows.study.retrieval.topk} passages of one of the "
        "method's own searches.",
        origin_note(rows),
    ]
    return Table("cost", "Cost per question", header, blocks, notes)


def cost_rows(rows: Metrics) -> Iterator[dict[str, Any]]:
    """The cost table with intervals, unrounded."""
    for row, place in places(rows):
        hits = [f"hit@{k}" for k in range(1, rows.study.retrieval.topk + 1)]
        for cost in (*COSTS, "episodes_run", "search_failures", *hits, *(f"stop_{stop}" for stop in STOPS)):
            put(row, cost, rows.at(*place, "average", cost, "all"))
        yield row


def _shown_stops(rows: Metrics) -> list[str]:
    """The stop reasons that the cost table has columns for."""
    every = list(places(rows))
    return [
        stop
        for stop in STOPS
        if stop not in RARE_STOPS
        or any(rows.at(*place, name, f"stop_{stop}", "all").value for _, place in every for name in rows.columns)
    ]
