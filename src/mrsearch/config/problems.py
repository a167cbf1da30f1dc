"""What is wrong with a configuration, one line each."""

from __future__ import annotations

from datetime import date
from typing import Any

from pydantic import ValidationError

from mrsearch.config.base import RENAMED, TRUTH_VALUE, WRITE_TEXT

LONGEST_VALUE = 200
"""Characters of a wrong value in a message."""


def problems(error: ValidationError) -> list[str]:
    """A line for each: the dotted key and the reason."""
    lines = []
    for item in error.errors():
        loc = (*item["loc"], item["ctx"]["key"]) if item["type"] in (TRUTH_VALUE, RENAMED) else item["loc"]
        path = ".".join(str(key) for key in loc)
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = "unknown key"
        elif item["type"] not in ("value_error", "missing", TRUTH_VALUE, RENAMED):
            message = f"{message}, not {_short(item['input'])}"
            if item["type"] == "string_type" and isinstance(item["input"], bool | int | float | date):
                message += f": {WRITE_TEXT}"
        lines.append(f"{path + ': ' if path else ''}{message}")
    return lines


def _short(value: Any) -> str:
    """A value for a message; large ones are cut."""
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."
