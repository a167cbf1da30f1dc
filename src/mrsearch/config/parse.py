"""YAML and JSON as they may come from anybody: bounded in size, depth and what aliases make of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

MOST_BYTES = {".json": 1 << 24}
MOST_YAML_BYTES = 1 << 20
"""YAML is parsed at about a megabyte in ten seconds."""
MOST_NODES = 200_000
"""Values, once every alias is replaced by what it stands for: ten lines can stand for more than any memory holds."""


def parse(path: Path) -> Any:
    """The value in a YAML or JSON file. OSError, UnicodeDecodeError, yaml.YAMLError, ValueError or RecursionError where
    it cannot be read."""
    most = MOST_BYTES.get(path.suffix, MOST_YAML_BYTES)
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"has more than {most:,} bytes")
    text = content.decode("utf-8")
    return json.loads(text) if path.suffix == ".json" else _yaml(text)


def _yaml(text: str) -> Any:
    loader = _UniqueKeys(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _expanded(node, {}) > MOST_NODES:
            raise yaml.YAMLError(f"its aliases stand for more than {MOST_NODES:,} values")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _expanded(node: yaml.Node, sizes: dict[yaml.Node, int | None]) -> int:
    """Values that a node stands for; each node is looked at once, however many aliases name it."""
    if node in sizes:
        if (size := sizes[node]) is None:
            raise yaml.YAMLError(f"an alias names what it stands in{node.start_mark}")
        return size
    sizes[node] = None
    inner: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        inner = [inner_node for pair in node.value for inner_node in pair]
    elif isinstance(node, yaml.SequenceNode):
        inner = node.value
    size = sizes[node] = 1 + sum(_expanded(inner_node, sizes) for inner_node in inner)
    return size


class _UniqueKeys(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice instead of keeping the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key_node.start_mark)
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} appears twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)
