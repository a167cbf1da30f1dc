"""Files of recorded outputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

CUT = "length"
"""How servers name the end of a generation whose budget was spent."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns of a file of recorded outputs."""

    prompt: str = "prompt"
    response: str = "response"
    question: str = "question"
    prediction: str = "pred"
    """Optional: the answer that was scored."""
    stop: str = "stop_reason"
    """Optional: why the last generation ended; `length` where its budget was spent."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One recorded output."""

    name: str
    """Its id, or its line in the file."""
    prompt: str | None
    response: str
    question: str
    prediction: str | None = None
    has_prediction: bool = False
    is_cut: bool = False
    """Whether the file says that the last generation was cut."""


def read_recorded(path: Path, columns: Columns) -> list[Recorded]:
    """The rows of a jsonl file; ValueError names file, line and column."""
    rows = []
    for number, line in _lines(path):
        try:
            raw = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number}: not JSON: {error}") from error
        if not isinstance(raw, dict):
            raise ValueError(f"{path}, line {number}: holds a {type(raw).__name__}, not an object with columns")
        missing = [name for name in (columns.prompt, columns.response, columns.question) if name not in raw]
        if missing:
            raise ValueError(
                f"{path}, line {number}: lacks the column {', '.join(missing)}; it has {', '.join(raw)}: name yours "
                "with --prompt, --response and --question"
            )
        if not isinstance(raw[columns.response], str):
            raise ValueError(f"{path}, line {number}: {columns.response} is no text")
        prompt = raw[columns.prompt]
        rows.append(
            Recorded(
                name=str(raw.get("tid") or raw.get("id") or f"line {number}"),
                prompt=None if prompt is None else str(prompt),
                response=raw[columns.response],
                question=str(raw[columns.question]),
                prediction=raw.get(columns.prediction),
                has_prediction=columns.prediction in raw,
                is_cut=raw.get(columns.stop) == CUT,
            )
        )
    if not rows:
        raise ValueError(f"{path}: holds no recorded output")
    return rows


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    # Not splitlines: recorded texts hold other line separators.
    return ((number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())
