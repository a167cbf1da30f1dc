"""A protocol's keys with dots, and other values that they could have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from mrsearch.config.presets import PRESETS
from mrsearch.config.protocol import Protocol
from mrsearch.config.wording import ReflectionPrompt

MOST_TURNS = 12
"""The largest budget of turns that is tried as a cause."""


def leaves(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of every value that is no group."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def all_keys(protocol: Protocol) -> dict[str, Any]:
    """Every key of a protocol with its value, those too that a study's record leaves out; where a preset comes from is
    none."""
    names = [name for name in type(protocol).model_fields if name not in Protocol.idle_keys]
    return dict(leaves({name: _plain(getattr(protocol, name)) for name in names}))


def _plain(value: Any) -> Any:
    return value.model_dump() if hasattr(value, "model_dump") else value


def with_value(protocol: Protocol, path: str, value: Any) -> Protocol:
    """The protocol with one key changed; ValueError where that makes it invalid."""
    values: dict[str, Any] = {name: _plain(getattr(protocol, name)) for name in type(protocol).model_fields}
    group = values
    *parents, last = path.split(".")
    for name in parents:
        group = group[name]
    group[last] = value
    return Protocol.model_validate(values)


def choices() -> dict[str, tuple[Any, ...]]:
    """The values of every key that has few."""
    fields = dict(Protocol.model_fields)
    fields |= {f"reflection.{name}": field for name, field in ReflectionPrompt.model_fields.items()}
    return {
        name: (True, False) if field.annotation is bool else get_args(field.annotation)
        for name, field in fields.items()
        if field.annotation is bool or get_origin(field.annotation) is Literal
    }


def other_values(path: str, value: Any) -> tuple[Any, ...]:
    """Values that are not this key's, of its kind: every other choice, the half and the double of a number, a text with
    something added."""
    if path in (few := choices()):
        return tuple(choice for choice in few[path] if choice != value)
    if path == "max_turns":
        return tuple(turns for turns in (value - 1, value + 1) if turns)
    if isinstance(value, int):
        return (value // 2, value * 2)
    if path.startswith("tags."):
        return (f"{value[:-1]}-{value[-1]}",)
    return (f"{value} also",) if isinstance(value, str) else ("also",)


def likely_values(protocol: Protocol) -> Iterator[tuple[str, Any]]:
    """Keys of the format with values that may be right in place of the protocol's: those of all presets, and every
    choice of a key that has few."""
    current, seen = all_keys(protocol), set[tuple[str, Any]]()
    candidates = [("max_turns", turns) for turns in range(1, MOST_TURNS + 1)]
    for name in PRESETS:
        candidates += [
            (path, value)
            for path, value in all_keys(Protocol(preset=name)).items()
            if not path.startswith(("prompts.", "max_", "wording"))
        ]
    candidates += [(path, value) for path, values in choices().items() for value in values]
    for path, value in candidates:
        inert = path in ("preset", "scoring") or path.startswith("wording") or current.get(path) == value
        if not inert and (path, value) not in seen:
            seen.add((path, value))
            yield path, value
