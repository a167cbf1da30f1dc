"""Markdown tables of all keys, read from a model's JSON schema."""

from __future__ import annotations

import json
from typing import Any

from mrsearch.config.base import LARGEST, MOST

JsonSchema = dict[str, Any]
EVERYWHERE = (MOST, LARGEST)
"""Bounds that every number has and that tell a reader nothing."""
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def key_tables(schema: JsonSchema) -> str:
    """One table per model, in the order in which the keys refer to them: key, type, default, meaning."""
    models: JsonSchema = schema.get("$defs", {})
    lines = [_table(schema)]
    for name in _reached(schema, models):
        lines.append(f"### {name}\n\n{models[name].get('description', '')}\n\n{_table(models[name])}")
    return "\n\n".join(lines)


def _table(model: JsonSchema) -> str:
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for key, value in model["properties"].items():
        meaning = " ".join(value.get("description", "").split())
        cells = (f"`{key}`", _type(value), _default(key, value, model), meaning)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def _type(value: JsonSchema) -> str:
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    options = value.get("anyOf") or value.get("oneOf")
    if options:
        return " or ".join(_type(option) for option in options)
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return " or ".join(f"`{item}`" for item in value["enum"])
    kind = value.get("type", "anything")
    if kind == "array":
        return f"list of {_type(value['items'])}" if "items" in value else f"list of {len(value['prefixItems'])}"
    if kind == "object":
        inner = value.get("additionalProperties")
        return f"by name: {_type(inner)}" if isinstance(inner, dict) else "mapping"
    bounds = [
        f"{sign} {value[bound]}" for bound, sign in _BOUNDS.items() if bound in value and value[bound] not in EVERYWHERE
    ]
    return ", ".join([str(kind), *bounds])


def _default(key: str, value: JsonSchema, model: JsonSchema) -> str:
    if key in model.get("required", []):
        return "required"
    default = value.get("default")
    if isinstance(default, dict) and default:
        return "its own defaults"
    text = json.dumps(default, ensure_ascii=False)
    return f"`{text if len(text) <= 60 else text[:57] + '...'}`"


def _reached(schema: JsonSchema, models: JsonSchema) -> list[str]:
    order: list[str] = []
    waiting = [schema]
    while waiting:
        new = [name for name in _references(waiting.pop(0).get("properties", {})) if name not in order]
        order += new
        waiting += [models[name] for name in new]
    return order


def _references(value: Any) -> list[str]:
    if isinstance(value, list):
        nested = [_references(item) for item in value]
    elif isinstance(value, dict):
        if "$ref" in value:
            return [value["$ref"].rpartition("/")[2]]
        nested = [_references(item) for key, item in value.items() if key not in ("default", "discriminator")]
    else:
        return []
    return list(dict.fromkeys(name for names in nested for name in names))
