"""A table as data: cells with their marks, written as CSV and Markdown."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mrsearch.csv_cells import csv_text


class Mark(StrEnum):
    """How a cell stands out."""

    none = "none"
    best = "best"
    """Bold."""
    second = "second"
    """Underlined."""


@dataclass(frozen=True, slots=True)
class TableCell:
    """What one cell shows."""

    text: str
    mark: Mark = Mark.none
    suffix: str = ""
    """Follows the text unmarked: a sign of significance."""
    hint: str = ""
    """What a page adds for those who point at the cell: an interval."""


@dataclass(slots=True)
class Block:
    """Rows that are compared with each other, under one title."""

    title: str
    rows: list[list[TableCell]] = field(default_factory=list)
    closing: list[list[TableCell]] = field(default_factory=list)
    """Rows below a rule, such as n."""
    group: str = ""
    """What several blocks have in common, such as a decoding: LaTeX gives each group an environment of its own."""


@dataclass(slots=True)
class Table:
    """A titled table; the first column names rows, the others hold numbers."""

    name: str
    caption: str
    header: list[str]
    blocks: list[Block]
    notes: list[str]


def number(value: float, scale: float = 1.0, digits: int = 1, sign: bool = False) -> str:
    """A number for a reader; an undefined one is a dash, an unbounded one the sign of infinity."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    rounded = round(value * scale, digits) + 0.0  # minus zero becomes zero
    return f"{rounded:{'+' if sign else ''}.{digits}f}"


def mark_best(texts: Sequence[str]) -> list[Mark]:
    """Best and second best among shown numbers; equal shown numbers share their mark, one number alone gets none."""
    values = [None if text in ("", "–", "∞") else float(text) for text in texts]
    ranked = sorted({value for value in values if value is not None}, reverse=True)
    if len(ranked) < 2:
        return [Mark.none] * len(texts)
    marks = {ranked[0]: Mark.best, ranked[1]: Mark.second}
    return [Mark.none if value is None else marks.get(value, Mark.none) for value in values]


def to_markdown(table: Table) -> str:
    """GitHub's Markdown; best in bold, second underlined."""
    lines = [f"# {_md(table.caption)}", ""]
    for block in table.blocks:
        lines += [f"## {_md(block.title)}", ""] if block.title else []
        lines.append("| " + " | ".join(_md(name) for name in table.header) + " |")
        lines.append("| --- |" + " ---: |" * (len(table.header) - 1))
        lines += ["| " + " | ".join(_md_cell(cell) for cell in row) + " |" for row in block.rows + block.closing]
        lines.append("")
    lines += [f"- {_md(note)}" for note in table.notes]
    return "\n".join(lines) + "\n"


def to_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV; numbers to 6 significant digits, text as spreadsheets run none of it."""
    listed = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(listed[0]), lineterminator="\n")
    writer.writerow({key: csv_text(key) for key in listed[0]})
    writer.writerows({key: _plain(value) for key, value in row.items()} for row in listed)
    return text.getvalue()


def _plain(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else csv_text(str(value))


def _md(text: str) -> str:
    for sign in "\\`*_|<>[]":
        text = text.replace(sign, "\\" + sign)
    return text.replace("\n", " ")


def _md_cell(cell: TableCell) -> str:
    text = _md(cell.text)
    text = {Mark.best: f"**{text}**", Mark.second: f"<u>{text}</u>", Mark.none: text}[cell.mark]
    return text + _md(cell.suffix)
