"""Advantage estimators by name: this project's, and those of installed packages with their settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.installed import install

from mrsearch.config import ConfigError, Study, load_run, load_study, stages
from mrsearch.config.training import Train
from mrsearch.extensions import ESTIMATORS
from mrsearch.learning import advantages as learning
from mrsearch.training.estimators import estimator_of
from mrsearch.training.verl.rl.advantage import BatchRow, token_advantages

SOURCE = """
from pydantic import BaseModel

class Settings(BaseModel):
    scale: float = 2.0

class Scaled:
    Settings, compares = Settings, False
    def __call__(self, rewards_GN, exists_GN, gamma, episode_mask_N, settings):
        return settings.scale * rewards_GN

def of_one(rewards_GN, exists_GN, gamma, episode_mask_N, settings):
    return rewards_GN[..., :1]
"""
POINTS = "[mrsearch.estimators]\nscaled = {module}:Scaled\nof_one = {module}:of_one\n"


def study(algorithm: str, group_size: int = 4, **settings: Any) -> Study:
    train = {"algorithm": algorithm, "start": "warm_start", "algorithm_settings": settings}
    overrides = {"methods.mr_search.train": train, "methods.mr_search.training": {"group_size": group_size}}
    return load_study(load_run({"study": "demo", "overrides": overrides}))


def test_built_in_names_are_those_of_learning() -> None:
    assert {name: ESTIMATORS.load(name) for name in ESTIMATORS.built_in} == learning.ESTIMATORS
    assert estimator_of(Train(algorithm="rloo")) is learning.rloo
    with pytest.raises(ValueError, match="'ppo' has no object"):
        estimator_of(Train(algorithm="ppo"))


def test_an_installed_estimator_gives_the_advantages_of_both_trainers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"'scaled' is no algorithm: known are mr_search.*ppo, sft; .* add none"):
        study("scaled")
    install(monkeypatch, tmp_path, "estimator_one", SOURCE, POINTS.format(module="estimator_one"))
    train = study("scaled", group_size=1, scale=3.0).methods["mr_search"].train
    assert train is not None and train.algorithm_package == "estimator-one 0.1.0"
    rewards, exists = torch.tensor([[1.0, 5.0], [2.0, 0.5]]), torch.tensor([[True, False], [True, True]])
    values = learning.advantages(estimator_of(train), rewards, exists)
    assert values.tolist() == [[3.0, 0.0], [6.0, 1.5]]
    row = BatchRow("q", "0", [1.0], [[0, 0, 2]])
    assert token_advantages([row], torch.ones(1, 3), estimator_of(train), 1).tolist() == [[3.0, 3.0, 0.0]]
    wrong = study("of_one").methods["mr_search"].train
    assert wrong is not None
    with pytest.raises(ValueError, match=r"advantages of shape \(2, 2\) expected"):
        learning.advantages(estimator_of(wrong), rewards, exists)
    with pytest.raises(ConfigError, match=r"training\.group_size \(1\)"):
        study("of_one", group_size=1)


def test_settings_and_version_decide_the_digest_of_the_training_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, tmp_path / "1", "estimator_two", SOURCE, POINTS.format(module="estimator_two"))
    read = study("scaled")
    assert Study.model_validate(read.model_dump(mode="json")) == read
    digests = {stages.train(read, "tiny", "mr_search"), stages.train(study("scaled", scale=1.0), "tiny", "mr_search")}
    install(monkeypatch, tmp_path / "2", "estimator_two", SOURCE, POINTS.format(module="estimator_two"), "0.2.0")
    digests.add(stages.train(study("scaled"), "tiny", "mr_search"))
    assert len(digests) == 3
    assert stages.train(study("scaled"), "tiny", "warm_start") == stages.train(read, "tiny", "warm_start")
    assert stages.evaluate(study("scaled"), "mr_search") == stages.evaluate(read, "mr_search")
    with pytest.raises(ConfigError, match=r"algorithm_settings: algorithm \('sft'\) is of no installed package"):
        study("sft", scale=1.0)
