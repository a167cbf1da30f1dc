"""Bases and terms of rewards that installed packages add."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.installed import install

from mrsearch.agent.records import Episode, MetaEpisode, Question, StopReason
from mrsearch.agent.rewards import episode_rewards
from mrsearch.config import ConfigError, Study, load_run, load_study, stages
from mrsearch.config.protocol import Protocol
from mrsearch.config.reward import Reward

SOURCE = """
from pydantic import BaseModel

class Settings(BaseModel):
    most_words: int = 2

class Brevity:
    Settings = Settings
    def __call__(self, scored):
        most = scored.settings.most_words
        return [float(len((episode.answer or "").split()) <= most) for episode in scored.meta.episodes]

def half(scored):
    return [0.5 for episode in scored.meta.episodes]

def short(scored):
    return []
"""
POINTS = """
[mrsearch.reward_terms]
brevity = {module}:Brevity
short = {module}:short
[mrsearch.reward_bases]
half = {module}:half
"""


def answered(*answers: str) -> MetaEpisode:
    episodes = [Episode([], answer) for answer in answers]
    return MetaEpisode(Question("q", "q", ("a b c",)), [], [], [], [], 0, episodes, StopReason.answered)


def study(**reward: Any) -> Study:
    return load_study(load_run({"study": "demo", "overrides": {"training.reward": reward}}))


def test_installed_bases_and_terms_are_weighed_as_built_in_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"installed_terms.brevity: 'brevity' is no term of a reward: known are"):
        study(installed_terms={"brevity": {}})
    install(monkeypatch, tmp_path, "reward_one", SOURCE, POINTS.format(module="reward_one"))
    meta = answered("a b c", "x")
    reward = Reward(terms={"no_answer": 1.0}, installed_terms={"brevity": {"weight": -0.25}})
    rewarded = episode_rewards(meta, reward, Protocol())
    assert rewarded.values == [1.0, -0.25]
    assert rewarded.terms == {"score": [1.0, 0.0], "no_answer": [0.0, 0.0], "brevity": [0.0, 1.0]}
    wide = Reward(base="half", installed_terms={"brevity": {"settings": {"most_words": 3}}})
    assert episode_rewards(meta, wide, Protocol()).values == [1.5, 1.5]
    assert episode_rewards(meta, wide, Protocol()).terms["base"] == [0.5, 0.5] and not wide.plain
    with pytest.raises(ValueError, match=r"'short' of reward-one 0\.1\.0 gave \[\]: one finite number .* 2 episodes"):
        episode_rewards(meta, Reward(installed_terms={"short": {}}), Protocol())


def test_they_change_the_digests_of_what_they_train_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = study()
    install(monkeypatch, tmp_path, "reward_two", SOURCE, POINTS.format(module="reward_two"))
    terms = study(installed_terms={"brevity": {"settings": {"most_words": 3}}})
    assert Study.model_validate(terms.model_dump(mode="json")) == terms
    assert terms.training.reward.installed_terms["brevity"].package == "reward-two 0.1.0"
    digests = {stages.train(read, "tiny", "mr_search") for read in (plain, terms, study(base="half"))}
    assert len(digests) == 3
    assert stages.train(terms, "tiny", "warm_start") == stages.train(plain, "tiny", "warm_start")
    with pytest.raises(ConfigError, match=r"installed_terms\.searches is a term of no package"):
        study(installed_terms={"searches": {}})
    with pytest.raises(ConfigError, match=r"'nope' is no base of a reward: .* add half \(reward-two 0\.1\.0\)"):
        study(base="nope")
