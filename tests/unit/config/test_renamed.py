"""An old word in a study is refused with its new one."""

from __future__ import annotations

from typing import get_args

import pytest

from mrsearch.config import ConfigError, Study, renamed
from mrsearch.config.base import Model
from mrsearch.config.load import validated


@pytest.mark.parametrize(
    ("model", "old", "new"),
    [(model, old, new.split()[0]) for model, keys in renamed.KEYS.items() for old, new in keys.items()],
)
def test_every_old_key_is_refused_with_its_new_name(model, old, new):
    models = {each.__name__: each for each in all_models(Study)}
    assert new in models[model].model_fields
    assert old not in models[model].model_fields
    with pytest.raises(ConfigError, match=rf"{old}: is now called {new}"):
        validated(models[model], {old: 1}, "study.yaml")


@pytest.mark.parametrize(
    ("place", "old", "new"),
    [(place, old, new) for place, values in renamed.VALUES.items() for old, new in values.items()],
)
def test_every_old_value_is_refused_with_its_new_name(place, old, new):
    models = {each.__name__: each for each in all_models(Study)}
    with pytest.raises(ConfigError, match=rf"{place[1]}: '{old}' is now called '{new}'"):
        validated(models[place[0]], {place[1]: old}, "study.yaml")


@pytest.mark.parametrize(("model", "old"), [(model, key) for model, keys in renamed.REMOVED.items() for key in keys])
def test_every_key_that_is_gone_is_refused_with_its_reason(model, old):
    models = {each.__name__: each for each in all_models(Study)}
    assert old not in models[model].model_fields
    with pytest.raises(ConfigError, match=rf"{old}: is gone \(.*\): remove it"):
        validated(models[model], {old: 1}, "study.yaml")


def all_models(model, seen=None):
    """A configuration model, its bases, and every model that its fields hold."""
    seen = set() if seen is None else seen
    if model not in seen:
        seen |= {base for base in model.__mro__ if issubclass(base, Model)}
        for field in model.model_fields.values():
            for part in models_in(field.annotation):
                all_models(part, seen)
    return seen


def models_in(annotation):
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)
