"""Keys by dotted path, as overrides and sweeps name them."""

from __future__ import annotations

from typing import Any

from mrsearch.config.source import ConfigError


def set_key(raw: dict[str, Any], dotted: str, value: Any, where: str) -> None:
    """Give the key a value, in groups that are made where they are missing; ConfigError, which begins with `where`,
    where a part of the path is no group."""
    *parents, last = dotted.split(".")
    node = raw
    for key in parents:
        node = node.setdefault(key, {})
        if not isinstance(node, dict):
            raise ConfigError(f"{where}: {key} is not a group of keys")
    node[last] = value
