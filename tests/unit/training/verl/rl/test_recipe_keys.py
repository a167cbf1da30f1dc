"""The tables of keys that the recipe sets are those that it does set, no more and no fewer."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from support.trainings import training_run

from mrsearch.config import Run, Study, load_study
from mrsearch.config.verl_keys import FIXED_KEYS, STUDY_KEYS, refusal
from mrsearch.training.verl.rl import recipe

VARIANTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("paper", "mr_search", {}),
    ("paper", "mr_search", {"training.verl": {"use_dynamic_bsz": False, "fused_kernels": "triton"}}),
    ("paper", "mr_search", {"training.lora": {}}),
    ("paper", "mr_search", {"training.filter_groups": {}}),
    ("paper", "mr_search", {"training.verl.mode": "one_step_off"}),
    ("baselines", "search_r1_ppo", {}),
    ("baselines", "search_r1_ppo", {"training.verl.use_dynamic_bsz": False}),
    ("demo-verl", "mr_search", {"methods.mr_search.train": {"algorithm": "ppo", "start": "warm_start"}}),
)
PLACES = ("models", "seeds", "protocol", "resources", "methods.<method>")
"""Beginnings of study keys that are no field of `training`."""


def dotted(settings: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


@pytest.fixture(scope="module")
def keys(root) -> set[str]:
    """All keys of verl's that the recipe sets in one study or another."""
    known: set[str] = set()
    for name, method, changes in VARIANTS:
        study = load_study(Run(study=name, overrides=changes), root)
        run = training_run(study, list(study.models)[-1], method, 0, Path("shared"), Path("out"))
        known |= set(dotted({part: value for part, value in recipe.settings(run).items() if part != recipe.TRAINER}))
    return known


def test_every_key_of_the_recipe_is_refused(keys: set[str]) -> None:
    assert len(keys) > 100
    assert [key for key in sorted(keys) if refusal(key) is None] == []


def test_every_key_of_the_tables_is_one_of_the_recipe(keys: set[str]) -> None:
    listed = [key for table in (STUDY_KEYS, FIXED_KEYS) for names in table.values() for key in names]
    assert len(listed) == len(set(listed))
    spare = [key for key in listed if not any(fnmatchcase(known, f"{key}*") for known in keys)]
    assert spare == []


def test_the_keys_to_set_are_keys_of_a_study(root) -> None:
    training = load_study(Run(study="paper"), root).training
    for key in STUDY_KEYS:
        if key.startswith(PLACES):
            continue
        names: Any = key.removeprefix("training.").split(".")
        value: Any = training
        for name in names:
            assert name in type(value).model_fields, key
            value = getattr(value, name)
    assert {key.partition(".")[0] for key in STUDY_KEYS} <= set(Study.model_fields)
