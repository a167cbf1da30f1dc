"""A table for a terminal: columns that do not fit beside each other stand below each other."""

from __future__ import annotations

import io
from collections.abc import Sequence

from mrsearch.reporting.tables.table import Block, Mark, Table

NARROWEST = 80
"""Columns of characters that every terminal has."""
STYLE = {Mark.best: "bold", Mark.second: "underline", Mark.none: ""}
GAP = 2
"""Characters between columns."""


def to_text(table: Table, width: int, order: Sequence[int]) -> str:
    """The table with its notes in lines of at most `width` characters, best in bold and second best underlined.

    `order`: numbers of the columns, without that of the rows' names, which every part repeats.
    """
    from rich.console import Console

    width = max(width, NARROWEST)
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, color_system="standard", width=width)
    for block in table.blocks:
        title = block.title
        for columns in _column_groups(table, block, order, width):
            console.print(_rich_table(table, block, columns, title))
            title = ""
    for note in table.notes:
        console.print(note, highlight=False, markup=False)
    return shown.getvalue()


def _head(name: str) -> str:
    """A column's head in as many lines as it has words, intervals aside."""
    words, _, interval = name.partition(" (")
    return words.replace(" ", "\n") + (f"\n({interval}" if interval else "")


def _width(table: Table, block: Block, column: int) -> int:
    texts = [row[column].text + row[column].suffix for row in block.rows + block.closing]
    return max(len(text) for text in [*texts, *_head(table.header[column]).split("\n")]) + GAP


def _column_groups(table: Table, block: Block, order: Sequence[int], width: int) -> list[list[int]]:
    """Columns that fit into `width` together, each part with the first column."""
    names = _width(table, block, 0) + GAP
    column_groups: list[list[int]] = []
    room = 0
    for column in order:
        column_width = _width(table, block, column)
        if not column_groups or column_width > room:
            column_groups.append([0])
            room = width - names
        column_groups[-1].append(column)
        room -= column_width
    return column_groups


def _rich_table(table: Table, block: Block, columns: list[int], title: str) -> object:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    rich_table = RichTable(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
        pad_edge=False,
    )
    for column in columns:
        justify = "right" if column else "left"
        rich_table.add_column(_head(table.header[column]) if column else "Method", justify=justify, vertical="bottom")  # type: ignore[arg-type]
    for row in block.rows:
        rich_table.add_row(
            *(Text.assemble((row[column].text, STYLE[row[column].mark]), row[column].suffix) for column in columns)
        )
    rich_table.add_section()
    for row in block.closing:
        rich_table.add_row(*(row[column].text for column in columns))
    return rich_table
