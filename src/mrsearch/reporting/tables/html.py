"""A table as one HTML page that needs nothing else."""

from __future__ import annotations

from html import escape

from mrsearch.reporting.tables.table import Mark, Table, TableCell

STYLE = """
:root { color-scheme: light dark; --rule: light-dark(#bbb, #555); }
body { font: 14px/1.45 system-ui, sans-serif; margin: 1rem; background: Canvas; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .4rem 0; }
th, td { padding: .25rem .42rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: Canvas; z-index: 1; }
td:first-child { white-space: normal; min-width: 7rem; max-width: 12rem; }
thead th { border-top: 2px solid; border-bottom: 1px solid; white-space: normal; vertical-align: bottom; }
tbody { border-bottom: 1px solid var(--rule); }
tbody th { font-weight: 400; font-style: italic; text-align: left; }
caption span, tbody th span { display: inline-block; position: sticky; left: 0; max-width: calc(100vw - 2rem); }
thead span { white-space: nowrap; }
sup { line-height: 0; }
.second { text-decoration: underline; }
.notes { font-size: .87em; max-width: 60rem; padding-left: 1.2rem; }
"""


def to_html(table: Table) -> str:
    """A page with the table and its notes; best in bold, second underlined, intervals for those who point at a cell."""
    lines = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(table.caption)}</title>",
        f"<style>{STYLE}</style></head><body>",
        f'<div class="scroll"><table><caption><span>{escape(table.caption)}</span></caption>',
        "<thead><tr>" + "".join(map(_head, table.header)) + "</tr></thead>",
    ]
    for block in table.blocks:
        lines.append("<tbody>")
        if block.title:
            span = len(table.header)
            lines.append(f'<tr><th scope="rowgroup" colspan="{span}"><span>{escape(block.title)}</span></th></tr>')
        lines += ["<tr>" + "".join(map(_cell, row)) + "</tr>" for row in block.rows + block.closing]
        lines.append("</tbody>")
    lines.append("</table></div>")
    lines.append('<ul class="notes">' + "".join(f"<li>{escape(note)}</li>" for note in table.notes) + "</ul>")
    return "\n".join(lines) + "\n</body></html>\n"


def _head(name: str) -> str:
    words, bracket, interval = escape(name).partition(" (")
    return f'<th scope="col">{words}{f" <span>({interval}</span>" if bracket else ""}</th>'


def _cell(cell: TableCell) -> str:
    text = escape(cell.text)
    text = {
        Mark.best: f"<strong>{text}</strong>",
        Mark.second: f'<span class="second">{text}</span>',
        Mark.none: text,
    }[cell.mark]
    hint = f' title="{escape(cell.hint)}"' if cell.hint else ""
    return f"<td{hint}>{text}{f'<sup>{escape(cell.suffix)}</sup>' if cell.suffix else ''}</td>"
