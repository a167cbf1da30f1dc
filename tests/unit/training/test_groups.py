"""Which groups of a training are kept, and what is written of them."""

import os
import random
from pathlib import Path

import pytest
import torch
from support.made_up import made_record

from mrsearch.agent.record_files import read_records
from mrsearch.agent.record_lines import from_line, to_line
from mrsearch.agent.records import MetaEpisode
from mrsearch.agent.scoring import episode_scores
from mrsearch.config import Study
from mrsearch.config.layout import GROUPS_FILE
from mrsearch.training import groups
from mrsearch.training.rl.rollouts import reward_tensors

SIZE = 3


def made_groups(study: Study, count: int) -> dict[str, list[MetaEpisode]]:
    return {
        f"uid{q}": [made_record(study, ("tiny", "mr_search", 0, f"m{g}", "train"), q) for g in range(SIZE)]
        for q in range(count)
    }


def test_the_same_whole_groups_are_chosen_whatever_their_order(small_study: Study):
    candidates = made_groups(small_study, 6)
    names = groups.choose(4, candidates, SIZE)
    assert len(names) == groups.GROUPS
    for seed in range(5):
        shuffled = list(candidates.items())
        random.Random(seed).shuffle(shuffled)
        assert groups.choose(4, dict(shuffled), SIZE) == names
    candidates[names[0]].pop()
    assert names[0] not in groups.choose(4, candidates, SIZE)


def test_other_steps_choose_other_groups(small_study: Study):
    candidates = made_groups(small_study, 6)
    assert len({tuple(groups.choose(step, candidates, SIZE)) for step in range(20)}) > 5


def test_about_as_many_candidates_as_asked_for_and_all_of_a_small_step():
    names = [f"question {n}" for n in range(5120)]
    found = sum(groups.is_candidate(8, name, 5120) for name in names)
    assert groups.CANDIDATES / 3 < found < groups.CANDIDATES * 3
    assert all(groups.is_candidate(8, name, groups.CANDIDATES) for name in names)
    assert not any(groups.is_candidate(7, name, 8) for name in names), "step 7 keeps none"


def test_without_advantages_the_rewards_alone_are_kept(small_study: Study, tmp_path: Path):
    metas = [meta for group in made_groups(small_study, 3).values() for meta in group]
    rewards, exists = reward_tensors([episode_scores(meta) for meta in metas], SIZE, 3)
    groups.keep(tmp_path, 0, metas, rewards, exists, None)
    groups.publish(tmp_path, tmp_path / "model")
    kept = list(read_records(tmp_path / GROUPS_FILE))
    assert len(kept) == groups.GROUPS * SIZE
    assert all(record.tags.keys() >= {"step", "member", "rewards"} for record in kept)
    assert not any("advantages" in record.tags for record in kept)
    groups.keep(tmp_path, 0, metas, rewards, exists, torch.ones_like(rewards))
    groups.publish(tmp_path, tmp_path / "model")
    for record in read_records(tmp_path / GROUPS_FILE):
        assert {value for row in record.tags["advantages"] for value in row} == {1.0}


def test_a_record_is_the_same_after_a_journey_as_text(small_study: Study):
    ((record, *_), *_) = made_groups(small_study, 1).values()
    assert from_line(to_line(record)) == record
    with pytest.raises((ValueError, KeyError, TypeError)):
        from_line("{}")


def test_a_damaged_step_is_left_out_with_a_warning(
    small_study: Study, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    metas = [meta for group in made_groups(small_study, 3).values() for meta in group]
    rewards, exists = reward_tensors([episode_scores(meta) for meta in metas], SIZE, 3)
    for step in (0, 1, 2):
        groups.keep(tmp_path, step, metas, rewards, exists, None)
    os.truncate(tmp_path / groups.FOLDER / "step000001.jsonl.zst", 200)
    groups.publish(tmp_path, tmp_path / "model")
    assert {record.tags["step"] for record in read_records(tmp_path / GROUPS_FILE)} == {0, 2}
    assert "step000001" in caplog.text
