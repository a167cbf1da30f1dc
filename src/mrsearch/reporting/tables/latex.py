"""A table as LaTeX, for the columns of a paper."""

from __future__ import annotations

import itertools
import re
import textwrap

from mrsearch.reporting.tables.table import Block, Mark, Table, TableCell

MOST_ROWS = 45
"""Rows that fit on a page of LaTeX."""
MOST_COLUMNS = 10
"""Columns that a paper's column can hold; a wider table spans both."""
HEAD = 10
"""Characters in a line of a column's name, one word at least."""


def to_latex(table: Table) -> str:
    """Table environments, which need the packages booktabs and graphicx; what is wider than the line is made smaller.

    Each group of blocks has an environment of its own, named in its caption, and each block where there are many
    rows, so that none is higher than a page; the notes follow the last. Long names of columns go on in a next line.
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
    group = blocks[0].group if label else ""
    caption = f"{table.caption}, {group}" if group else table.caption
    kind = "table*" if columns > MOST_COLUMNS else "table"
    lines = [
        f"\\begin{{{kind}}}[t]",
        "\\centering",
        f"\\caption{{{_tex(caption)}}}",
        f"\\label{{tab:{table.name}{label}}}",
        "\\setlength{\\tabcolsep}{4pt}",
        "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%",
        f"\\begin{{tabular}}{{l{'r' * (columns - 1)}}}",
        "\\toprule",
        " & ".join(map(_head, table.header)) + " \\\\",
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


def _head(name: str) -> str:
    """A column's name in as many lines as it needs, an interval in one of its own."""
    words, _, interval = name.partition(" (")
    width = max(HEAD, len(interval))
    lines = textwrap.wrap(words, width, break_long_words=False, break_on_hyphens=False)
    lines += [f"({interval}"] if interval else []
    if len(lines) < 2:
        return _tex(name)
    return "\\shortstack[r]{" + " \\\\ ".join(map(_tex, lines)) + "}"


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
