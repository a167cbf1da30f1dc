"""Gold answers as data sets give them."""

from __future__ import annotations

from typing import Any


def gold_answers(value: Any, where: str) -> list[str]:
    """The gold answers of a row; integers and finite numbers become text.

    ValueError, naming the row, for anything but a list of them that is not empty: a bare string, null, truth values,
    nested lists, and texts without a character to compare.
    """
    if not isinstance(value, list):
        raise ValueError(f"{where}: golden_answers ({value!r:.80}) must be a list of texts")
    if not value:
        raise ValueError(f"{where}: golden_answers is empty: drop the question or give at least one answer")
    for answer in value:
        if isinstance(answer, bool) or not isinstance(answer, str | int | float) or answer != answer:
            raise ValueError(f"{where}: golden_answers holds {answer!r:.80}, which is no text")
        if not str(answer).strip():
            raise ValueError(f"{where}: golden_answers holds an empty text: drop it")
    return [str(answer) for answer in value]
