"""Measures of every question, as arrays, from the columns of scores."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mrsearch.agent.records import StopReason
from mrsearch.evaluation.scores import CHOICES, COUNTS, EVIDENCE, SCORES, TRANSITIONS
from mrsearch.evaluation.uncertainty import Array

Name = tuple[str, str]
"""Metric and episode."""


def measures(table: pa.Table) -> tuple[list[Name], Array]:
    """(names, values [Q, K]) of Q questions, in the order of the table. ValueError where a list's length differs from
    question to question."""
    pairs = list(_measures(table))
    values_QK = np.empty((table.num_rows, len(pairs)))
    for index, (_, values_Q) in enumerate(pairs):
        values_QK[:, index] = values_Q
    return [name for name, _ in pairs], values_QK


def _measures(table: pa.Table) -> Iterator[tuple[Name, Array]]:
    """Name and values [Q] of each measure."""
    for name in SCORES:
        yield from _by_episode(table, name)
        yield from (((name, choice), _single(table, f"{name}_{choice}")) for choice in CHOICES)
    for choice in ("last_valid", "vote", "best"):
        yield from _by_episode(table, f"em_{choice}_after", f"em_{choice}")
    for name in TRANSITIONS:
        yield from _by_episode(table, name, first=2)
    for name in COUNTS:
        yield from _by_episode(table, name)
        yield (name, "all"), _lists(table, name).sum(axis=1)
    for name in ("episodes_run", "total_tokens", "invalid_actions", "search_failures", *EVIDENCE):
        yield (name, "all"), _single(table, name)
    yield from (((name, "all"), _single(table, name)) for name in table.column_names if name.startswith("hit@"))
    for reason in StopReason:
        yield (f"stop_{reason}", "all"), pc.equal(table["stop"], reason.value).to_numpy()


def _by_episode(table: pa.Table, column: str, metric: str = "", first: int = 1) -> Iterator[tuple[Name, Array]]:
    """A list's values, one measure for each of its positions."""
    values_QN = _lists(table, column)
    for index in range(values_QN.shape[1]):
        yield (metric or column, str(first + index)), values_QN[:, index]


def _lists(table: pa.Table, column: str) -> Array:
    """Lists of one length as an array [Q, N]."""
    lists = table[column].combine_chunks()
    lengths = pc.unique(pc.list_value_length(lists)).to_pylist()
    if len(lengths) != 1:
        raise ValueError(f"{column} has lists of {sorted(lengths)} values: evaluate these questions again")
    return np.asarray(lists.flatten().to_numpy(), dtype=np.float64).reshape(len(lists), lengths[0])


def _single(table: pa.Table, column: str) -> Array:
    return np.asarray(table[column].to_numpy(), dtype=np.float64)
