"""Scores by episode, and how answers changed from one episode to the next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mrsearch.reporting.frame import Metrics, method_label
from mrsearch.reporting.layout import Block, Table, TableCell, number
from mrsearch.reporting.method_tables import put

CHANGES = ("corrected", "corrupted", "kept")


def episode_table(rows: Metrics) -> Table:
    """Mean EM of each episode and the share of answers corrected, corrupted and kept since the episode before."""
    study = rows.study
    methods = [method for method, settings in study.methods.items() if settings.episodes > 1] or list(study.methods)
    last = max(study.methods[method].episodes for method in methods)
    header = ["Method", "EM 1"]
    for episode in range(2, last + 1):
        header += [f"EM {episode}", *(f"{change} {episode}" for change in CHANGES)]
    blocks = []
    for decoding in rows.decodings:
        for model in study.models:
            block = Block(f"{model}, {decoding}" if len(study.models) > 1 else decoding)
            block.rows = [_shown(rows, (model, decoding, method), last) for method in methods]
            blocks.append(block)
    notes = [
        "EM (%) of the answer of each episode, 0 where it gave none; means over benchmarks.",
        "Shares of all questions (%): corrected (wrong, then right), corrupted (right, then wrong), kept (right twice)"
        "; EM of an episode is corrected plus kept.",
    ]
    return Table("episodes", "Episode by episode", header, blocks, notes)


def _shown(rows: Metrics, place: tuple[str, str, str], last: int) -> list[TableCell]:
    cells = [TableCell(method_label(rows.study, place[2]))]
    for episode in range(1, last + 1):
        there = episode <= rows.study.methods[place[2]].episodes
        for metric in ("em", *CHANGES) if episode > 1 else ("em",):
            text = number(rows.at(*place, "average", metric, str(episode)).value, 100) if there else ""
            cells.append(TableCell(text))
    return cells


def episode_rows(rows: Metrics) -> Iterator[dict[str, Any]]:
    """A row per model, decoding, method, benchmark and episode, unrounded."""
    for model, decoding, method, benchmark in rows.places():
        for episode in range(1, rows.study.methods[method].episodes + 1):
            place = (model, decoding, method, benchmark)
            row: dict[str, Any] = {"model": model, "decoding": decoding, "method": method, "benchmark": benchmark}
            row["episode"] = episode
            for metric in ("em", "f1", "searches", "generated_tokens"):
                put(row, metric, rows.at(*place, metric, str(episode)))
            for metric in CHANGES:
                row[metric] = rows.at(*place, metric, str(episode)).value if episode > 1 else ""
            em = rows.at(*place, "em", str(episode))
            yield {**row, "n": em.n, "seeds": em.seeds}
