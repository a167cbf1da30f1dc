"""Gold answers as data sets give them."""

from __future__ import annotations

import math
from typing import Any

from mrsearch.visible import is_blank


def gold_answers(value: Any, where: str) -> list[str]:
    """The gold answers of a row; integers and finite numbers become text.

    ValueError, naming the row, for anything but a list of them that is not empty: a bare string, null, truth values,
    nested lists, and texts without a character to compare.
    """
    if not isinstance(value, list):
        raise ValueError(f"{where}: golden_answers ({value!r:.80}) must be a list of texts")
    if not value:
        raise ValueError(f"{where}: golden_answers is empty: drop the question or give at least one answer")
    return [_text(answer, where) for answer in value]


def _text(answer: Any, where: str) -> str:
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        raise ValueError(f"{where}: golden_answers holds {answer!r:.80}, which is no text")
    if isinstance(answer, float) and not math.isfinite(answer):
        raise ValueError(f"{where}: golden_answers holds {answer!r}, which is no finite number")
    if is_blank(str(answer)):
        raise ValueError(f"{where}: golden_answers holds {answer!r:.80}, in which nothing can be seen: drop it")
    return str(answer)
