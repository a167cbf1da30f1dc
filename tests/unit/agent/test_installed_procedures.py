"""A procedure of an installed package answers through the same door as the built-in ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.installed import install

from mrsearch.agent.spec import AgentSpec
from mrsearch.config import ConfigError, Study, load_run, load_study, stages

SOURCE = """
from dataclasses import replace
from pydantic import BaseModel
from mrsearch.agent.meta_episode import meta_episode

class Settings(BaseModel):
    hint: str = "think"

class Hinted:
    Settings, searches, reflects = Settings, True, True
    async def __call__(self, question, agent, request):
        hint = agent.spec.procedure_settings.hint
        return await meta_episode(replace(question, question=f"{question.question} {hint}"), agent, request)

async def nothing(question, agent, request):
    return None
"""
POINTS = "[mrsearch.procedures]\nhinted = procedure_one:Hinted\nnothing = procedure_one:nothing\n"


def study(**keys: Any) -> Study:
    method = {"procedure": "hinted", "policy": "mr_search", "episodes": 2, **keys}
    return load_study(load_run({"study": "demo", "overrides": {"methods.hinted": method}}))


def test_an_installed_procedure_answers_with_its_settings(
    stage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"methods\.hinted: 'hinted' is no procedure: known are direct.*add none"):
        study()
    install(monkeypatch, tmp_path, "procedure_one", SOURCE, POINTS)
    spec = AgentSpec.of(study(procedure_settings={"hint": "city"}), "hinted")
    assert (spec.procedure, spec.episodes, spec.procedure_settings.hint) == ("hinted", 2, "city")
    policy = stage.policy(["<answer> Köln </answer>", "<answer> Ålesund </answer>"])
    meta = stage.play(policy, procedure="hinted", procedure_settings=spec.procedure_settings, episodes=2)
    assert [episode.answer for episode in meta.episodes] == ["Köln", "Ålesund"]
    with pytest.raises(ValueError, match=r"procedure nothing of procedure-one 0\.1\.0 returned no MetaEpisode"):
        stage.play(stage.policy([]), procedure="nothing")


def test_settings_and_version_stand_in_the_study_and_its_digests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, tmp_path / "1", "procedure_two", SOURCE, POINTS.replace("one", "two"))
    before = study()
    assert before.methods["hinted"].procedure_package == "procedure-two 0.1.0"
    assert "procedure_package" not in before.methods["mr_search"].model_dump()
    assert Study.model_validate(before.model_dump(mode="json")) == before
    assert stages.evaluate(study(procedure_settings={"hint": "x"}), "hinted") != stages.evaluate(before, "hinted")
    install(monkeypatch, tmp_path / "2", "procedure_two", SOURCE, POINTS.replace("one", "two"), "0.2.0")
    assert stages.evaluate(study(), "hinted") != stages.evaluate(before, "hinted")
    assert stages.evaluate(study(), "mr_search") == stages.evaluate(before, "mr_search")
    with pytest.raises(ConfigError, match="does not reflect: remove episodes"):
        study(procedure="nothing")
    with pytest.raises(ConfigError, match=r"procedure_settings: procedure \('cot'\) is of no installed package"):
        study(procedure="cot", procedure_settings={"hint": "x"}, episodes=1)
