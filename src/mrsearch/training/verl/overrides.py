"""Keys of verl's configuration that a study sets by verl's own names, checked against the installed verl."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

SUGGESTIONS = 3
"""Names that a wrong key's message offers, at most."""
OPEN = ("override_config",)
"""Sections that take whatever their readers know, though they are not empty."""


def with_overrides(config: DictConfig, overrides: Mapping[str, Any]) -> DictConfig:
    """The configuration with the values of these dotted keys.

    ValueError names a key that the installed verl does not have, with near ones, and a value of another kind than the
    one that stands there. Sections that verl ships empty (`engine_kwargs.vllm`) take every key.
    """
    from omegaconf import OmegaConf

    changed = config.copy()
    for key, value in overrides.items():
        _check(changed, key, value)
        OmegaConf.update(changed, key, value, force_add=True)
    return changed


def _check(config: DictConfig, key: str, value: Any) -> None:
    from omegaconf import DictConfig, OmegaConf

    section: Any = config
    *parents, last = key.split(".")
    for name in parents:
        if not isinstance(section, DictConfig) or name not in section:
            raise _unknown(config, key)
        section = section._get_node(name)
        if isinstance(section, DictConfig) and (section._is_none() or not len(section) or name in OPEN):
            return
    if not isinstance(section, DictConfig) or last not in section:
        raise _unknown(config, key)
    node = section._get_node(last)
    if isinstance(node, DictConfig) and len(node):
        raise ValueError(f"training.verl.overrides: {key} is a section of verl's configuration: name a key of it")
    default = None if OmegaConf.is_missing(section, last) else section[last]
    if _kind(default) not in (None, _kind(value)) and value is not None:
        raise ValueError(
            f"training.verl.overrides: {key} is {value!r}, where verl has a {_kind(default)} ({default!r}): write a "
            f"{_kind(default)}"
        )


def _unknown(config: DictConfig, key: str) -> ValueError:
    near = near_keys(key, list(_keys(config)))
    return ValueError(
        f"training.verl.overrides: the installed verl has no key {key}"
        + (f": did you mean {' or '.join(near)}?" if near else "")
    )


def near_keys(key: str, existing: list[str]) -> list[str]:
    """The existing keys nearest to one that is none: those with its last names in another section first."""
    tail = key.rpartition(".")[2]
    alike = [name for name in existing if name.rpartition(".")[2] == tail]
    alike.sort(key=lambda name: (not name.endswith(f".{key}"), -difflib.SequenceMatcher(None, key, name).ratio()))
    close = difflib.get_close_matches(key, existing, SUGGESTIONS, 0.8)
    return list(dict.fromkeys([*alike, *close]))[:SUGGESTIONS]


def _keys(config: DictConfig, prefix: str = "") -> Iterator[str]:
    from omegaconf import DictConfig

    for name in config:
        node = config._get_node(name)
        if isinstance(node, DictConfig) and not node._is_none() and len(node):
            yield from _keys(node, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _kind(value: Any) -> str | None:
    """What a value is, in words; None where it says nothing of what may stand there."""
    from omegaconf import ListConfig

    if isinstance(value, bool):
        return "truth value"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, list | ListConfig):
        return "list"
    return "text" if isinstance(value, str) else None
