"""A study as a file may say it: whole, or over another; what editors check and the docs list."""

from __future__ import annotations

from typing import Any

from mrsearch.config.base import Name
from mrsearch.config.experiment import ExperimentSettings
from mrsearch.config.extends import BY_NAME
from mrsearch.config.study import Study

JsonSchema = dict[str, Any]


class StudyFile(Study):
    """A study's file. What it says is resolved to a `Study` when it is read."""

    extends: str | None = None
    """Another study, whose keys hold where this file says nothing: a shipped study's name, or a file's path, seen from
    this file. Groups are joined key by key; `name` and `title` are never taken over."""
    experiment: ExperimentSettings | None = None
    """One method against others at every point of some knobs, each point with methods of its own."""
    sweep: dict[Name, dict[str, list[Any] | dict[Name, Any]] | list[dict[str, Any]]] = {}
    """Methods that become many: a grid, `{mr_search: {training.learning_rate: [1.0e-4, 2.0e-4], episodes: [2, 3]}}`, or
    a list of points, `{mr_search: [{episodes: 2}, {episodes: 3, max_turns: 2}]}`. The values name the methods; values
    that cannot are named here, `{protocol.prompts.reflection: {short: search again, long: reflect and search}}`."""


def partial(schema: JsonSchema) -> JsonSchema:
    """The schema of a file that may leave to another whatever a study needs: nothing but the name is required where the
    file extends one, and entries of that one can be dropped with null."""
    loose: JsonSchema = _loose(schema)
    for path in BY_NAME:
        group = loose
        for name in path:
            field = group["properties"][name]
            group = loose["$defs"][field["$ref"].rpartition("/")[2]] if "$ref" in field else field
        group["additionalProperties"] = {"anyOf": [group["additionalProperties"], {"type": "null"}]}
    return loose | {"required": ["name"], "anyOf": [{"required": ["extends"]}, {"required": schema["required"]}]}


def _loose(value: Any) -> Any:
    if isinstance(value, list):
        return [_loose(member) for member in value]
    if not isinstance(value, dict):
        return value
    required = isinstance(value.get("required"), list)
    # Of the kinds of a group several fit while its kind is the other study's to say.
    renamed = {"anyOf" if key == "oneOf" else key: member for key, member in value.items()}
    return {key: _loose(member) for key, member in renamed.items() if not (required and key == "required")}
