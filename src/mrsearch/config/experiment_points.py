"""`experiment`: the methods of a study's file become those of every point of its knobs."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from mrsearch.config.base import LONGEST_NAME
from mrsearch.config.dotted import set_key
from mrsearch.config.experiment import ExperimentSettings
from mrsearch.config.problems import problems
from mrsearch.config.source import ConfigError

EXPERIMENT = "experiment"
EVERY = "*"
"""Stands in a point for all that are compared and for those whose policies they run."""
Methods = dict[str, dict[str, Any]]


def with_points(raw: dict[str, Any], where: str) -> dict[str, Any]:
    """The keys of a study with a copy of each method at every point that changes it, and with the names of all points
    in `report.experiment`.

    ConfigError, which begins with `where`, for an experiment that cannot be read or names unknown methods.
    """
    raw = dict(raw)
    experiment = raw.pop(EXPERIMENT, None)
    if experiment is None:
        return raw
    methods = raw.get("methods")
    if not isinstance(methods, dict) or not all(isinstance(row, dict) for row in methods.values()):
        raise ConfigError(f"{where}: {EXPERIMENT} needs methods, each with its keys")
    settings = _validated(experiment, where)
    _check_names(settings, methods, where)
    expanded: Methods = dict(methods)
    knobs: dict[str, Any] = {}
    for knob, of_knob in settings.knobs.items():
        points = {}
        for value, changes in of_knob.points.items():
            copies = _copies(settings, methods, _changes(settings, methods, changes), f"{knob}_{value}", where)
            points[value] = {arm: copies[arm][0] if arm in copies else arm for arm in settings.arms}
            for arm, (name, row) in copies.items():
                row["label"] = f"{methods[arm].get('label') or arm}, {knob} {value}"
                expanded[name] = row
        knobs[knob] = {"label": of_knob.label or knob, "points": points}
    copies_made = [name for name in expanded if name not in methods]
    resolved = {"method": settings.method, "against": list(settings.against), "knobs": knobs, "copies": copies_made}
    report = raw.get("report") or {}
    if not isinstance(report, dict):
        raise ConfigError(f"{where}: report is not a group of keys")
    return raw | {"methods": expanded, "report": {**report, EXPERIMENT: resolved}}


def _validated(raw: Any, where: str) -> ExperimentSettings:
    try:
        return ExperimentSettings.model_validate(raw)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{where}: {EXPERIMENT}.{line}" for line in problems(error))) from error


def _check_names(settings: ExperimentSettings, methods: Methods, where: str) -> None:
    used = _below(methods, settings.arms)
    for arm in settings.arms:
        if arm not in methods:
            raise ConfigError(f"{where}: {EXPERIMENT} names {arm!r}, which is no method: {', '.join(methods)}")
    for knob, of_knob in settings.knobs.items():
        for value, changes in of_knob.points.items():
            if unused := [name for name in changes if name != EVERY and name not in used]:
                raise ConfigError(
                    f"{where}: {EXPERIMENT}.knobs.{knob}.points.{value} changes {unused[0]!r}, which nothing that is "
                    f"compared builds on: {', '.join(used)}"
                )


def _changes(settings: ExperimentSettings, methods: Methods, point: dict[str, dict[str, Any]]) -> Methods:
    """Keys by method, with what `*` gives to several first."""
    policies = [str(methods[arm]["policy"]) for arm in settings.arms if methods[arm].get("policy") in methods]
    shared = dict.fromkeys([*settings.arms, *policies], point.get(EVERY, {}))
    single = {name: {**shared.get(name, {}), **keys} for name, keys in point.items() if name != EVERY}
    return {name: keys for name, keys in {**shared, **single}.items() if keys}


def _copies(
    settings: ExperimentSettings, methods: Methods, changes: Methods, point: str, where: str
) -> dict[str, tuple[str, dict[str, Any]]]:
    """(name, keys) at the point of each method that it changes, or that builds on one, by its name in the file."""
    names = [name for name in _below(methods, settings.arms) if changes.keys() & set(_below(methods, [name]))]
    at_point = {name: f"{name}-{point}" for name in names}
    copies = {}
    for name, full in at_point.items():
        if len(full) > LONGEST_NAME:
            raise ConfigError(f"{where}: the name {full!r} has more than {LONGEST_NAME} characters")
        if full in methods:
            raise ConfigError(f"{where}: {EXPERIMENT} makes {full!r}, which is a method already")
        row = copy.deepcopy(methods[name])
        for key, value in changes.get(name, {}).items():
            set_key(row, key, value, f"{where}: {EXPERIMENT}.{full}")
        row.pop("compare_with", None)
        for path, reference in _references(row):
            set_key(row, path, at_point.get(reference, reference), where)
        copies[name] = (full, row)
    return copies


def _below(methods: Methods, names: Iterable[str]) -> list[str]:
    """The methods and those that they build on, each once: the methods first that others build on."""
    order: list[str] = []
    for name in names:
        below = [reference for _, reference in _references(methods.get(name, {})) if reference in methods]
        order += [*_below({key: row for key, row in methods.items() if key != name}, below), name]
    return list(dict.fromkeys(order))


def _references(row: dict[str, Any]) -> list[tuple[str, str]]:
    """(dotted key, method) for the methods whose weights a method runs or starts from."""
    train = row.get("train")
    start = train.get("start") if isinstance(train, dict) else None
    references = {"policy": row.get("policy"), "train.start": start}
    return [(key, str(name)) for key, name in references.items() if name is not None]
