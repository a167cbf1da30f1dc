"""Questions and passages of rows that a study declares, by the names of their fields."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mrsearch.config.hub_rows import PassageFields, QuestionFields
from mrsearch.data.corpus import parse_contents
from mrsearch.data.golds import gold_answers
from mrsearch.data.registry import RegistryEntry
from mrsearch.data.row_files import Row, read_rows
from mrsearch.unique_ids import refuse_repeated
from mrsearch.visible import is_blank

SHOWN = 200
"""Characters of a row's fields in a message."""


def declared_questions(entry: RegistryEntry, paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Rows {id, question, golden_answers} of the files, in their order.

    ValueError names the row whose field is missing or unusable, and the rows that share an id.
    """
    fields = entry.fields
    assert isinstance(fields, QuestionFields) and entry.split is not None
    rows = []
    for number, (where, raw) in enumerate(_rows(entry, paths, [fields.id, fields.question, *fields.gold_fields])):
        identifier = f"{entry.split}_{number}" if fields.id is None else _identifier(raw, fields.id, where)
        question = _text(raw, fields.question, where)
        if is_blank(question):
            raise ValueError(f"{where}: nothing can be seen of {fields.question} ({question!r:.80}): drop the row")
        rows.append({"id": identifier, "question": question, "golden_answers": _golds(raw, fields.gold_fields, where)})
    refuse_repeated(((number, str(row["id"])) for number, row in enumerate(rows, 1)), f"data.rows.{entry.name}", "row")
    return rows


def declared_passages(entry: RegistryEntry, paths: Sequence[Path]) -> Iterator[tuple[str, str, str]]:
    """(id, title, text) of the files' rows, streamed in order; ValueError names the row with an unusable field."""
    fields = entry.fields
    assert isinstance(fields, PassageFields)
    names = [fields.id, fields.contents, fields.title, fields.text]
    for number, (where, raw) in enumerate(_rows(entry, paths, names)):
        identifier = str(number) if fields.id is None else _identifier(raw, fields.id, where)
        if fields.contents is not None:
            title, text = parse_contents(_text(raw, fields.contents, where))
        else:
            assert fields.text is not None
            title = "" if fields.title is None else _text(raw, fields.title, where).strip()
            text = _text(raw, fields.text, where).strip()
        yield identifier, title, text


def value_at(row: dict[str, Any], field: str, where: str) -> Any:
    """What stands at a field; dots lead into objects, and through a list of objects to the list of what they hold.

    ValueError, naming `where` and the fields that are there, where a step is missing.

    >>> value_at({"answers": [{"text": "a"}, {"text": "b"}]}, "answers.text", "row 1")
    ['a', 'b']
    """
    return row[field] if field in row else _descend(row, field.split("."), field, where)


def _descend(value: Any, steps: list[str], field: str, where: str) -> Any:
    if not steps:
        return value
    if isinstance(value, list):
        values = [_descend(item, steps, field, where) for item in value]
        return [text for item in values for text in (item if isinstance(item, list) else [item])]
    if not isinstance(value, dict) or steps[0] not in value:
        keys = ", ".join(map(str, value)) if isinstance(value, dict) else f"{type(value).__name__}"
        raise ValueError(f"{where}: the field {field!r} is missing; at {steps[0]!r} there is {keys:.{SHOWN}}")
    return _descend(value[steps[0]], steps[1:], field, where)


def _rows(entry: RegistryEntry, paths: Sequence[Path], names: Sequence[str | None]) -> Iterator[Row]:
    assert entry.format is not None
    for path in paths:
        yield from read_rows(path, entry.format, [name for name in names if name is not None])


def _identifier(raw: dict[str, Any], field: str, where: str) -> str:
    value = value_at(raw, field, where)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise ValueError(
            f"{where}: {field} ({value!r:.80}) must be text or an integer; fields.id: null numbers the rows"
        )
    return str(value)


def _text(raw: dict[str, Any], field: str, where: str) -> str:
    value = value_at(raw, field, where)
    if not isinstance(value, str):
        raise ValueError(f"{where}: {field} ({value!r:.80}) must be text, not {type(value).__name__}")
    return value


def _golds(raw: dict[str, Any], names: Sequence[str], where: str) -> list[str]:
    """All answers of the fields, each once."""
    values = [value_at(raw, name, where) for name in names]
    if len(names) > 1:
        values = [value for value in values if value not in (None, "", [])]
    answers = [answer for value in values for answer in (value if isinstance(value, list) else [value])]
    try:
        return list(dict.fromkeys(gold_answers(answers, where)))
    except ValueError as error:
        raise ValueError(f"{error} (fields.golden_answers: {', '.join(names)})") from error
