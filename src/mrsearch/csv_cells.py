"""Text as a cell of a CSV file that people open in a spreadsheet, where it must stay text."""

from __future__ import annotations

import re

FORMULA = re.compile(r"\s*[=+\-@\uFF1D\uFF0B\uFF0D\uFF20]")
"""How a cell begins that a spreadsheet may run: also with wide signs, and after what it skips."""
CONTROLS = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]+")
"""Some readers begin a new cell or row at them."""
NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?%?|[+-]?(inf|nan)", re.IGNORECASE)
DASHES = ("", "-", "+", "--", "---")
"""What stands for nothing."""


def csv_text(text: str) -> str:
    """The text, with an apostrophe before it where a spreadsheet would take it for a formula; numbers stay as they
    are. Line breaks and other controls become a space."""
    text = CONTROLS.sub(" ", text)
    harmless = text in DASHES or NUMBER.fullmatch(text) or not FORMULA.match(text)
    return text if harmless else f"'{text}"
