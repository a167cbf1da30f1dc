"""`sweep`: one method of a study's file becomes many, one for each combination of values."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

from mrsearch.config.base import LONGEST_NAME, NAME
from mrsearch.config.dotted import set_key
from mrsearch.config.source import ConfigError

SWEEP = "sweep"
MOST_POINTS = 1000
"""Methods that a sweep may make."""
WORDS = {True: "true", False: "false", None: "null"}
Point = dict[str, tuple[str, Any]]
"""The name of a value, and the value, by dotted key."""


def expanded(raw: dict[str, Any], where: str) -> dict[str, Any]:
    """The keys of a study with the methods of its `sweep` in the place of those that they were made from.

    ConfigError, which begins with `where`, for a sweep that cannot be read or whose methods cannot be named.
    """
    raw = dict(raw)
    sweeps = raw.pop(SWEEP, None) or {}
    if not isinstance(sweeps, dict) or not isinstance(raw.get("methods", {}), dict):
        raise ConfigError(f"{where}: sweep holds {type(sweeps).__name__}, not methods with their keys")
    methods: dict[str, Any] = {}
    for name, method in raw.get("methods", {}).items():
        expansion = {name: method}
        if name in sweeps:
            expansion = _methods(str(name), method, sweeps[name], f"{where}: sweep.{name}")
        if twice := expansion.keys() & methods.keys():
            raise ConfigError(f"{where}: sweep.{name} makes {min(twice)!r}, which is a method already")
        methods |= expansion
    if unknown := [name for name in sweeps if name not in raw.get("methods", {})]:
        choices = ", ".join(map(str, raw.get("methods", {})))
        raise ConfigError(f"{where}: sweep.{unknown[0]} is not a method of this study: known are {choices}")
    return raw | ({"methods": methods} if sweeps else {})


def _methods(name: str, method: Any, sweep: Any, where: str) -> dict[str, Any]:
    """The methods of one sweep by name, each with its point."""
    if not isinstance(method, dict):
        raise ConfigError(f"{where}: methods.{name} holds {type(method).__name__}, not keys")
    points = _points(sweep, where)
    short = _short_keys({key for point in points for key in point})
    methods: dict[str, Any] = {}
    for point in points:
        row = copy.deepcopy(method)
        for key, (_, value) in point.items():
            set_key(row, key, value, f"{where}.{key}")
        texts = {short[key]: text for key, (text, _) in point.items()}
        row["label"] = ", ".join([str(method.get("label") or name), *(f"{key} {text}" for key, text in texts.items())])
        row[SWEEP] = {"of": name, "values": {short[key]: _shown(*value) for key, value in point.items()}}
        full = "-".join([name, *(f"{key}_{text}" for key, text in texts.items())])
        if len(full) > LONGEST_NAME:
            raise ConfigError(f"{where}: the name {full!r} has more than {LONGEST_NAME} characters: name its values")
        if full in methods:
            raise ConfigError(f"{where}: {full!r} comes twice: each combination of values once")
        methods[full] = row
    return methods


def _points(sweep: Any, where: str) -> list[Point]:
    """A grid's combinations in the order of its keys, or a list's entries."""
    if isinstance(sweep, list) and sweep and all(isinstance(entry, dict) and entry for entry in sweep):
        return [{str(key): _with_name(value, f"{where}.{key}") for key, value in entry.items()} for entry in sweep]
    if not isinstance(sweep, dict) or not sweep:
        raise ConfigError(f"{where} is neither a grid ({{key: [values]}}) nor a list of points ([{{key: value}}])")
    values = [_values(value, f"{where}.{key}") for key, value in sweep.items()]
    count = 1
    for of_key in values:
        count *= len(of_key)
        if count > MOST_POINTS:
            raise ConfigError(f"{where} has more than {MOST_POINTS} combinations: sweep fewer values")
    return [dict(zip(map(str, sweep), combination, strict=True)) for combination in itertools.product(*values)]


def _values(values: Any, where: str) -> list[tuple[str, Any]]:
    """The values of a grid's key with their names: their own text, or the names that the file gives them."""
    if isinstance(values, dict) and values:
        return [(_checked(str(name), where), value) for name, value in values.items()]
    if not isinstance(values, list) or not values:
        raise ConfigError(f"{where} ({values!r}) is no list of values, and no values by name")
    return [_with_name(value, where) for value in values]


def _with_name(value: Any, where: str) -> tuple[str, Any]:
    if isinstance(value, dict):
        raise ConfigError(f"{where}: {value!r} is a group of keys: name its values, {{name: value}}")
    members = value if isinstance(value, list) else [value]
    text = "_".join(WORDS[member] if member is None or isinstance(member, bool) else str(member) for member in members)
    return _checked(text.replace("+", ""), where), value


def _checked(text: str, where: str) -> str:
    if not NAME.fullmatch(text) or len(text) > LONGEST_NAME or ".." in text:
        short = text[:LONGEST_NAME]
        raise ConfigError(f"{where}: {short!r} cannot be part of a method's name: name it, {{name: value}}")
    return text


def _shown(text: str, value: Any) -> Any:
    """Numbers as numbers, so that a figure can order them (YAML takes 1e-4 for text); everything else by its name."""
    if isinstance(value, bool) or not isinstance(value, int | float | str) or str(value) != text:
        return text
    try:
        number = float(value)
    except ValueError:
        return text
    return value if isinstance(value, int) else number if math.isfinite(number) else text


def _short_keys(keys: set[str]) -> dict[str, str]:
    """Each dotted key's last part where that tells them apart, else the whole key."""
    last = {key: key.rpartition(".")[2] for key in keys}
    names = list(last.values())
    return {key: name if names.count(name) == 1 else key for key, name in last.items()}
