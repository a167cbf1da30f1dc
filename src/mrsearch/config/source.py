"""Where configuration files lie, and their plain values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mrsearch.config.parse import parse

STUDIES = Path("config/studies")


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names file, key and reason."""


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file; a missing or outsized file, bad syntax or a repeated key is a ConfigError."""
    try:
        raw = parse(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: holds lists or mappings that are nested too deeply") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: holds {type(raw).__name__}, not a mapping of keys to values")
    return raw


def study_path(name: str, root: Path, folder: Path, where: str) -> Path:
    """File of a shipped study below `root`, or of a path from `folder`; ConfigError, which begins with `where`, for a
    name that is neither."""
    shipped = root / STUDIES / f"{name}.yaml"
    if shipped.is_file():
        return shipped
    path = folder / name
    if path.is_file():
        return path
    names = sorted(file.stem for file in (root / STUDIES).glob("*.yaml"))
    raise ConfigError(f"{where} ({name!r}) is neither a file nor one of the studies in {STUDIES}: {', '.join(names)}")
