"""Reading and resolving configuration files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from mrsearch.config.base import TRUTH_VALUE
from mrsearch.config.run import Run
from mrsearch.config.study import Study
from mrsearch.files import write_text

STUDIES = Path("config/studies")
M = TypeVar("M", bound=BaseModel)


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names file, key and reason."""


def load_run(config: Mapping[str, Any]) -> Run:
    """The validated run of a Snakemake `config` mapping; ConfigError names the offending key.

    `snakemake --config` hands the values inside lists and mappings over as text, so text in `seeds` and `overrides`
    is read as the YAML scalar that it spells.
    """
    typed = {key: _scalars(value) if key in ("seeds", "overrides") else value for key, value in config.items()}
    return validated(Run, typed, "config")


def load_study(run: Run, root: Path = Path()) -> Study:
    """The run's study with its overrides and seeds applied.

    Raises ConfigError with one message naming file, key and reason.
    """
    path = _study_path(run.study, root)
    raw = read_yaml(path)
    for dotted, value in run.overrides.items():
        _set(raw, dotted, value, path)
    if run.seeds is not None:
        raw["seeds"] = [run.seeds] if isinstance(run.seeds, int) else list(run.seeds)
    return validated(Study, raw, str(path))


def read_study(source: str | Path) -> Study:
    """The study of a file, or of a shipped name such as "demo"; ConfigError as `load_study`."""
    return load_study(Run(study=str(source)))


def write_study(study: Study, path: Path) -> None:
    """Write the resolved study as JSON, whole or not at all; `read_study` reads it back."""
    write_text(path, study.model_dump_json(indent=2) + "\n")


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file; a missing file, bad syntax or a repeated key is a ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
        raw = json.loads(text) if path.suffix == ".json" else yaml.load(text, Loader=_UniqueKeys)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except (yaml.YAMLError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: holds {type(raw).__name__}, not a mapping of keys to values")
    return raw


def digest(*parts: Any) -> str:
    """Short hash of configuration values (models, or what JSON can hold); equal on every machine for equal values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=_plain).encode()).hexdigest()[:16]


def _plain(part: object) -> Any:
    if isinstance(part, BaseModel):
        return part.model_dump(mode="json")
    raise TypeError(f"{type(part).__name__} has no place in a digest")


def _scalars(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _scalars(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_scalars(item) for item in value]
    if not isinstance(value, str):
        return value
    try:
        scalar = yaml.safe_load(value)
    except yaml.YAMLError:
        return value
    return scalar if isinstance(scalar, (bool, int, float)) or value in ("null", "~") else value


def _study_path(name: str, root: Path) -> Path:
    shipped = root / STUDIES / f"{name}.yaml"
    if shipped.is_file():
        return shipped
    path = root / name
    if path.is_file():
        return path
    known = sorted(file.stem for file in (root / STUDIES).glob("*.yaml"))
    raise ConfigError(
        f"config: study ({name!r}) is neither a file nor one of the studies in {STUDIES}: {', '.join(known)}"
    )


def validated(model: type[M], raw: dict[str, Any], where: str) -> M:
    """The model of a mapping; ConfigError names `where`, key and reason, one line each."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise ConfigError("\n".join(_lines(error, where))) from error


def _lines(error: ValidationError, where: str) -> list[str]:
    lines = []
    for item in error.errors():
        loc = (*item["loc"], item["ctx"]["key"]) if item["type"] == TRUTH_VALUE else item["loc"]
        path = ".".join(str(part) for part in loc)
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = "unknown key"
        elif item["type"] not in ("value_error", "missing", TRUTH_VALUE):
            message = f"{message}, not {item['input']!r}"
        lines.append(f"{where}: {path + ': ' if path else ''}{message}")
    return lines


def _set(raw: dict[str, Any], dotted: str, value: Any, path: Path) -> None:
    *parents, last = dotted.split(".")
    here = raw
    for part in parents:
        here = here.setdefault(part, {})
        if not isinstance(here, dict):
            raise ConfigError(f"{path}: overrides.{dotted}: {part} is not a group of keys")
    here[last] = value


class _UniqueKeys(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice instead of keeping the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} appears twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)
