"""A table as data: cells with their marks, written as CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mrsearch.csv_cells import csv_text

MOST_ROWS = 45
"""Rows that fit on a page of LaTeX."""
MOST_COLUMNS = 10
"""Columns that a paper's column can hold; a wider table spans both."""


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


def to_latex(table: Table) -> str:
    """Table environments, which need the packages booktabs and graphicx; what is wider than the line is made smaller.

    Each group of blocks has an environment of its own, and each block where there are many rows, so that none is higher
    than a page; the notes follow the last.
    """
    lines = ["% needs \\usepackage{booktabs} and \\usepackage{graphicx}"]
    environments = _environments(table.blocks)
    for number, blocks in enumerate(environments, 1):
        notes = table.notes if number == len(environments) else []
        lines += _environment(table, blocks, f"-{number}" if len(environments) > 1 else "", notes)
    return "\n".join(lines) + "\n"


def _environments(blocks: list[Block]) -> list[list[Block]]:
    groups = [list(group) for _, group in itertools.groupby(blocks, key=lambda block: block.group)]
    return [
        environment
        for group in groups
        for environment in ([[block] for block in group] if sum(map(_height, group)) > MOST_ROWS else [group])
    ]


def _height(block: Block) -> int:
    return len(block.rows) + len(block.closing)


def _environment(table: Table, blocks: list[Block], label: str, notes: list[str]) -> list[str]:
    columns = len(table.header)
    kind = "table*" if columns > MOST_COLUMNS else "table"
    lines = [
        f"\\begin{{{kind}}}[t]",
        "\\centering",
        f"\\caption{{{_tex(table.caption)}}}",
        f"\\label{{tab:{table.name}{label}}}",
        "\\setlength{\\tabcolsep}{4pt}",
        "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%",
        f"\\begin{{tabular}}{{l{'r' * (columns - 1)}}}",
        "\\toprule",
        " & ".join(_tex(name) for name in table.header) + " \\\\",
    ]
    for block in blocks:
        lines.append("\\midrule")
        if block.title:
            lines += [f"\\multicolumn{{{columns}}}{{l}}{{\\textit{{{_tex(block.title)}}}}} \\\\", "\\midrule"]
        lines += [" & ".join(_tex_cell(cell) for cell in row) + " \\\\" for row in block.rows]
        if block.closing:
            lines.append("\\midrule")
            lines += [" & ".join(_tex_cell(cell) for cell in row) + " \\\\" for row in block.closing]
    lines += ["\\bottomrule", "\\end{tabular}}"]
    if notes:
        lines += ["\\par\\smallskip", "\\begin{minipage}{\\linewidth}\\footnotesize"]
        lines += [*(_tex(note) + "\\par" for note in notes), "\\end{minipage}"]
    return [*lines, f"\\end{{{kind}}}"]


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


_TEX = str.maketrans(
    {
        "\\": "\\textbackslash{}",
        "{": "\\{",
        "}": "\\}",
        "&": "\\&",
        "%": "\\%",
        "$": "\\$",
        "#": "\\#",
        "_": "\\_",
        "~": "\\textasciitilde{}",
        "^": "\\textasciicircum{}",
        "<": "\\textless{}",
        ">": "\\textgreater{}",
        "–": "--",
        "∞": "$\\infty$",
        "°": "$\\circ$",
        "±": "$\\pm$",
        "γ": "$\\gamma$",
        "→": "$\\rightarrow$",
        "\u2003": "\\quad{}",
        "\n": " ",
    }
)


def _tex(text: str) -> str:
    return text.translate(_TEX)


def _tex_cell(cell: TableCell) -> str:
    text = re.sub(r"(?<!\w)-(?=\d)", "$-$", _tex(cell.text))
    text = {Mark.best: f"\\textbf{{{text}}}", Mark.second: f"\\underline{{{text}}}", Mark.none: text}[cell.mark]
    return text + (f"\\textsuperscript{{{_tex(cell.suffix)}}}" if cell.suffix else "")
