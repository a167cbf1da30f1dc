"""What a study takes from installed packages: settings by their own models, and the packages by name and version."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

from mrsearch.config.base import Model
from mrsearch.config.problems import problems
from mrsearch.config.renamed import renamed_value
from mrsearch.extensions import Vocabulary

PACKAGE = "package"
"""The key, or the end of the key, of a package's name and version."""


class NoSettings(Model):
    """The settings of what has none."""


def packages(configuration: Any, above: str = "") -> dict[str, str]:
    """The packages that a dumped configuration names, by what they add to it, as `<key>/<name>`, in order.

    above: the key that the configuration stands under. A term of a reward is its key.
    """
    packages_of: dict[str, str] = {}
    for key, value in configuration.items():
        if key.endswith("settings"):
            continue
        if isinstance(value, dict):
            packages_of |= packages(value, key)
        elif isinstance(value, str) and key.rpartition("_")[2] == PACKAGE:
            of = key.removesuffix(PACKAGE).removesuffix("_") or "kind"
            packages_of[f"{of}/{configuration[of]}" if of in configuration else f"term/{above}"] = value
    return dict(sorted(packages_of.items()))


def settings_model(vocabulary: Vocabulary, name: str) -> type[BaseModel]:
    """The pydantic model of an installed name's settings: its attribute `Settings`. ValueError where that is none."""
    model = getattr(vocabulary.load(name), "Settings", NoSettings)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise ValueError(f"{vocabulary.noun} {name!r} of {vocabulary.package(name)}: Settings is no pydantic model")
    return model


def settings_of(vocabulary: Vocabulary, name: str, values: Any) -> BaseModel:
    """The validated settings of an installed name; ValueError names key and reason."""
    try:
        return settings_model(vocabulary, name).model_validate(values)
    except ValidationError as error:
        raise ValueError("; ".join(f"settings.{line}" for line in problems(error))) from error


def completed(raw: Any, vocabulary: Vocabulary, key: str, settings: str, package: str) -> Any:
    """A mapping whose `key` names something, with its package and all of its settings where it is installed.

    settings, package: their keys in the mapping. What is built in stays as it is and takes no settings. ValueError for
    an unknown name, for settings that do not fit, and where a study was written down with another version.
    """
    if not isinstance(raw, dict):
        return raw
    name, written = raw.get(key), raw.get(package)
    if not isinstance(name, str) or name in vocabulary.own_names:
        if raw.get(settings) or written:
            raise ValueError(f"{settings}: {key} ({name!r}) is of no installed package and takes none: remove them")
        return raw
    if new_name := renamed_value(key, name):
        raise ValueError(f"{key}: {name!r} is now called {new_name!r}")
    current = vocabulary.package(name)
    if written not in (None, current):
        raise ValueError(
            f"{key} ({name!r}) is that of {written} here, and {current} is installed: install that version, or start "
            "the study again, which runs what depends on it anew"
        )
    values = settings_of(vocabulary, name, raw.get(settings) or {}).model_dump(mode="json")
    return {**raw, settings: values, package: current}
