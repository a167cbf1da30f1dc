"""A study that builds on another: `extends` names it, and what the file says lies over it, key by key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mrsearch.config.source import ConfigError, read_yaml, study_path

EXTENDS = "extends"
PERSONAL = ("name", "title")
"""Keys that a study never takes from another: results lie below the name, and the title says what a study is for."""
BY_NAME = {
    ("models",),
    ("methods",),
    ("benchmarks",),
    ("retrieval", "retrievers"),
    ("evaluation", "decoding"),
    ("sweep",),
}
"""Groups whose keys the study chooses, so that an entry of the other study can be dropped."""
WILDCARD = "*"
"""In such a group with null: drop every entry that the file does not name."""
DECIDING = {
    ("data",): "kind",
    ("models", WILDCARD): "kind",
    ("retrieval", "retrievers", WILDCARD): "kind",
    ("retrieval", "retrievers", WILDCARD, "encoder"): "kind",
    ("protocol",): "preset",
}
"""Key that decides what the others of its group mean: where the file gives it another value, the group is the file's
alone."""
Raw = dict[str, Any]


def read_extended(path: Path, root: Path) -> Raw:
    """The keys of a study's file over those of the studies that it extends, one over the other; `extends` is gone.

    Raises ConfigError for a file that cannot be read, an unknown study, a circle, and a study without its own name.
    """
    raws: list[Raw] = []
    seen: dict[Path, Path] = {}
    while True:
        if path.resolve() in seen:
            circle = " -> ".join(map(str, [*seen.values(), path]))
            raise ConfigError(f"{next(iter(seen.values()))}: extends runs in a circle: {circle}")
        seen[path.resolve()] = path
        raws.append(read_yaml(path))
        parent = raws[-1].pop(EXTENDS, None)
        if parent is None:
            break
        path = _parent(parent, path, raws[-1], root)
    raw = raws.pop()
    while raws:
        inherited = {key: value for key, value in raw.items() if key not in PERSONAL}
        raw = over(inherited, raws.pop())
    return raw


def _parent(parent: Any, path: Path, raw: Raw, root: Path) -> Path:
    if not isinstance(parent, str):
        raise ConfigError(f"{path}: extends ({parent!r}) is not the name or the file of one study")
    if "name" not in raw:
        raise ConfigError(f"{path}: name is missing: a study that extends another has a name and results of its own")
    return study_path(parent, root, path.parent, f"{path}: extends")


def over(inherited: Raw, changes: Raw, at: tuple[str, ...] = ()) -> Raw:
    """`changes` over `inherited`: groups key by key, everything else replaced; `at` is where they stand in the study.

    Inherited keys come first and keep their order, unless the file drops those that it does not name.
    """
    named_alone = at in BY_NAME and WILDCARD in changes and changes[WILDCARD] is None
    combined = {} if named_alone else dict(inherited)
    for key, value in changes.items():
        before = inherited.get(key)
        if at in BY_NAME and value is None:
            combined.pop(key, None)
        elif isinstance(before, dict) and isinstance(value, dict) and not _replaced(before, value, (*at, str(key))):
            combined[key] = over(before, value, (*at, str(key)))
        else:
            combined[key] = value
    return combined


def _replaced(inherited: Raw, changes: Raw, at: tuple[str, ...]) -> bool:
    general = tuple(WILDCARD if at[:level] in BY_NAME else name for level, name in enumerate(at))
    deciding = DECIDING.get(general)
    return deciding is not None and deciding in changes and changes[deciding] != inherited.get(deciding)
