"""Columns of a score table about searches by hops and about support, where a study names them."""

from __future__ import annotations

from collections.abc import Iterable

from mrsearch.config.hops import by_hops
from mrsearch.config.report import HOP_COLUMNS, NAMED_COLUMNS, SUPPORT_COLUMNS
from mrsearch.evaluation.faithfulness import ALL
from mrsearch.reporting.frame import Metrics, Value, benchmark_label
from mrsearch.reporting.tables.table import TableCell, number

HEADINGS = {
    "one_hop_searches": "Searches, one hop",
    "multi_hop_searches": "Searches, multi-hop",
    "adaptivity": "Adaptivity",
    "support": "Supported (%)",
    "right_support": "Right and supported (%)",
}


def heading(metrics: Metrics, column: str) -> str:
    """The head of one of `NAMED_COLUMNS`."""
    return f"{HEADINGS[column]} ({metrics.study.report.confidence:.0%} interval)"


def cells(metrics: Metrics, key: tuple[str, str, str], columns: Iterable[str]) -> dict[str, TableCell]:
    """The cells of those of `columns` that are among `NAMED_COLUMNS`: the mean over benchmarks with its interval,
    shares in percent."""
    return {column: TableCell(_text(column, named_value(metrics, key, column))) for column in named_columns(columns)}


def named_columns(columns: Iterable[str]) -> list[str]:
    """Those of `columns` that are among `NAMED_COLUMNS`."""
    return [column for column in columns if column in NAMED_COLUMNS]


def named_value(metrics: Metrics, key: tuple[str, str, str], column: str) -> Value:
    """The value of one of `NAMED_COLUMNS` for (model, decoding, method), on average."""
    return metrics.at(*key, "average", column, ALL)


def notes(metrics: Metrics, columns: Iterable[str]) -> list[str]:
    """What a table with these columns says of them."""
    shown, lines = named_columns(columns), []
    if set(shown) & set(HOP_COLUMNS):
        names = {
            hops: ", ".join(benchmark_label(metrics.study, name) for name in benchmarks)
            for hops, benchmarks in by_hops(metrics.study).items()
        }
        lines.append(
            f"Adaptivity: searches per question on benchmarks of several hops ({names['multi']}) minus those on "
            f"benchmarks of one ({names['one']}), unweighted."
        )
    if set(shown) & set(SUPPORT_COLUMNS):
        lines.append(
            "Supported: share of answers that stand in a passage which the agent read before; no answer is not "
            "supported, and yes and no are not counted. Right and supported: the same among right answers."
        )
    return lines


def _text(column: str, value: Value) -> str:
    share = column in SUPPORT_COLUMNS
    scale, digits, sign = (100, 1, False) if share else (1, 2, column == "adaptivity")
    shown, low, high = (number(item, scale, digits, sign) for item in value[:3])
    return shown if low == "–" else f"{shown} [{low}, {high}]"
