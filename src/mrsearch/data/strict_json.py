"""JSON from anybody, of which nothing is dropped in silence."""

from __future__ import annotations

import json
from typing import Any

import orjson


def parse_json(text: bytes, where: str) -> Any:
    """The value that `text` spells; ValueError, naming `where`, for what is not JSON and for an object that gives a key
    twice, of which a reader would see the last value alone."""
    try:
        value = orjson.loads(text)
        # The standard parser takes more than JSON, but alone shows the pairs of an object.
        json.loads(text, object_pairs_hook=lambda pairs: _object(pairs, where))
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON: {error}") from error
    return value


def _object(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        name = next(name for name in values if names.count(name) > 1)
        raise ValueError(f"{where}: the key {name!r:.80} stands there {names.count(name)} times: keep one")
    return values
