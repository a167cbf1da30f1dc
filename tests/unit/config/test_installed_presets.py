"""Prompt sets of installed packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.installed import install

from mrsearch.config import ConfigError, Study, load_run, load_study, stages
from mrsearch.config.presets import PRESETS
from mrsearch.config.protocol import preset_keys
from mrsearch.extensions import PROMPT_SETS

SOURCE = """
from pydantic import BaseModel

class Settings(BaseModel):
    shout: bool = False

class Terse:
    Settings = Settings
    def __call__(self, settings):
        return {"prompts": {"search": "FIND {question}" if settings.shout else "Find {question}"}, "max_turns": 5}

PLAIN = {"prompts": {"reflection": "Again."}}
WRONG = ["prompts"]
"""
POINTS = "[mrsearch.prompt_sets]\nterse = {module}:Terse\nplain = {module}:PLAIN\nwrong = {module}:WRONG\n"


def study(**protocol: Any) -> Study:
    return load_study(load_run({"study": "asearcher", "overrides": {f"protocol.{k}": v for k, v in protocol.items()}}))


def test_the_presets_of_this_project_come_through_the_same_door() -> None:
    assert {name: preset_keys(name) for name in PROMPT_SETS.built_in} == PRESETS


def test_an_installed_preset_gives_keys_that_the_study_may_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"protocol: 'terse' is no preset: known are own, search_r1.*add none"):
        study(preset="terse")
    install(monkeypatch, tmp_path, "prompts_one", SOURCE, POINTS.format(module="prompts_one"))
    read = study(preset="terse", preset_settings={"shout": True})
    assert read.protocol.prompts.search == "FIND {question}"
    assert study(preset="plain").protocol.prompts.reflection == "Again."
    assert Study.model_validate(read.model_dump(mode="json")) == read
    assert read.model_dump()["protocol"]["preset_package"] == "prompts-one 0.1.0"
    with pytest.raises(ConfigError, match=r"preset 'wrong' of prompts-one 0\.1\.0 gives no keys of the protocol"):
        study(preset="wrong")
    with pytest.raises(ConfigError, match=r"settings\.shout: Input should be a valid boolean"):
        study(preset="terse", preset_settings={"shout": "perhaps"})


def test_version_and_settings_decide_digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = study()
    assert "preset_package" not in plain.model_dump()["protocol"]
    install(monkeypatch, tmp_path / "1", "prompts_two", SOURCE, POINTS.format(module="prompts_two"))
    method = next(name for name, method in plain.methods.items() if method.searches)
    first = stages.evaluate(study(preset="plain"), method)
    install(monkeypatch, tmp_path / "2", "prompts_two", SOURCE, POINTS.format(module="prompts_two"), "0.2.0")
    assert len({first, stages.evaluate(study(preset="plain"), method), stages.evaluate(plain, method)}) == 3
