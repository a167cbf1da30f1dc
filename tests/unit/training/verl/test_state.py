"""Rows, summaries, alarms, checkpoints and splits of a training with verl; nothing here needs verl."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from support.trainings import training_run

from mrsearch.agent.ports import Hit, Passage
from mrsearch.agent.records import ActionKind, Episode, MetaEpisode, Question, StopReason, Turn
from mrsearch.agent.rewards import episode_rewards
from mrsearch.agent.tally import MetaEpisodeCounts, Tally
from mrsearch.config import Run, load_study
from mrsearch.config.protocol import Protocol
from mrsearch.config.reward import Reward
from mrsearch.config.verl import HealthLimits
from mrsearch.training.summary import step_summary, term_means
from mrsearch.training.verl.rl import recipe
from mrsearch.training.verl.rl.advantage import group_tensors
from mrsearch.training.verl.rl.batches import FetchedBatch, read_row, sessions
from mrsearch.training.verl.rl.health import Monitor
from mrsearch.training.verl.rl.recorder import numbers, translated
from mrsearch.training.verl.rl.rowless import forget_rowless, note_rowless, read_rowless
from mrsearch.training.verl.rl.rows import loop_rows
from mrsearch.training.verl.rl.train import split_questions
from mrsearch.training.verl.run_files import RunFiles


def meta(context="full"):
    """Prompt of 2; episode 0: 2 generated, 2 observed; a reflection prompt of 1; episode 1: 3 generated."""
    hits = [Hit(Passage("1", "t", "x"), 1.0)]
    first = Episode([Turn(2, 4, "s", ActionKind.search, "q", "obs", hits)], "wrong", StopReason.answered)
    second = Episode([Turn(7, 10, "a", ActionKind.answer, "right")], "right", StopReason.answered)
    return MetaEpisode(
        question=Question("1", "q?", ("right",)),
        token_ids=list(range(10)),
        loss_mask=[0, 0, 1, 1, 0, 0, 0, 1, 1, 1],
        episode_ids=[0] * 7 + [1] * 3,
        logprobs=[0, 0, -1, -1, 0, 0, 0, -2, -2, -2],
        prompt_length=2,
        episodes=[first, second],
        stop=StopReason.answered,
        context=context,
        episode_starts=[0, 6],
    )


def plain(made):
    return episode_rewards(made, Reward(), Protocol())


def test_a_meta_episode_is_one_row_that_is_split_after_its_prompt():
    (row,) = loop_rows(meta(), Protocol(), plain(meta()))
    assert (row.prompt_ids, row.response_ids) == ([0, 1], list(range(2, 10)))
    assert row.response_mask == [1, 1, 0, 0, 0, 1, 1, 1]
    assert row.facts["spans"] == [[0, 0, 5], [1, 5, 8]]
    assert row.facts["rewards"] == [0.0, 1.0]
    assert row.facts["weight"] == 1.0
    assert (row.facts["counts"]["generated_tokens"], row.facts["counts"]["searches"]) == (5, 1)


def test_with_the_previous_context_there_is_a_row_per_episode():
    rows = loop_rows(meta("previous"), Protocol(), plain(meta()))
    assert [row.response_mask for row in rows] == [[1, 1, 0, 0], [0, 0, 0, 0, 0, 1, 1, 1]]
    assert [row.facts["weight"] for row in rows] == [0.4, 0.6]
    assert all(row.facts["rewards"] == [0.0, 1.0] for row in rows)


def test_a_meta_episode_without_a_generated_token_makes_no_row():
    empty = meta()
    empty.loss_mask = [0] * 10
    assert loop_rows(empty, Protocol(), plain(empty)) == []


def test_summary_counts_meta_episodes_once_and_padding_never():
    pairs = [
        (f"q_{member}_{index}", row)
        for member in range(2)
        for index, row in enumerate(loop_rows(meta("previous"), Protocol(), plain(meta())))
    ]
    facts = [row.facts for _, row in pairs] + [pairs[0][1].facts]
    rows = [read_row(key, row.facts, False) for key, row in pairs] + [read_row("p_0_0", facts[-1], True)]
    fetched = FetchedBatch(rows, facts, [""] * 5, torch.zeros(5, 1), torch.zeros(5, 1))
    rewards_QGN, exists_QGN, _ = group_tensors(rows, 3)
    found = step_summary(fetched.counts(), rewards_QGN, exists_QGN)
    assert found["reward"] == [0.0, 1.0, 0.0]
    assert found["exists"] == [1.0, 1.0, 0.0]
    assert found["zero_variance_groups"] == 1.0
    assert (found["searches"], found["turns"], found["generated_tokens"], found["nll"]) == (1.0, 2.0, 5.0, 8 / 5)
    tally = Tally()
    for counts in fetched.counts():
        tally.add(counts)
    assert asdict(tally) == {"records": 2, "tokens": 20, "searches": 2, "search_failures": 0, "deadlines": 0}


def test_terms_travel_with_the_rows_and_are_logged_as_means_per_episode():
    reward = Reward(terms={"searches": -0.25, "no_answer": -1.0})
    pairs = [
        (f"q_{member}_{index}", row)
        for member in range(2)
        for index, row in enumerate(
            loop_rows(meta("previous"), Protocol(), episode_rewards(meta(), reward, Protocol()))
        )
    ]
    rows = [read_row(key, row.facts, False) for key, row in pairs]
    fetched = FetchedBatch(rows, [row.facts for _, row in pairs], [""] * 4, torch.zeros(4, 1), torch.zeros(4, 1))
    assert [list(row.rewards) for row in rows] == [[-0.25, 1.0]] * 4
    assert term_means(fetched.terms(), 3, count=4) == {
        "score": [0.0, 0.5, 0.0],
        "reward_searches": [0.5, 0.0, 0.0],
        "reward_no_answer": [0.0, 0.0, 0.0],
    }
    assert term_means([plain(meta()).terms] * 2, 3, count=2) == {}


def test_a_meta_episode_without_a_row_is_noted_and_counted_once(tmp_path):
    folder, failed = RunFiles(tmp_path), meta()
    failed = replace(failed, episodes=[], search_failures=1, token_ids=[], loss_mask=[], logprobs=[])
    for group, member in (("a", 0), ("a", 1), ("a", 0), ("b", 0)):
        note_rowless(folder, group, member, MetaEpisodeCounts.of(failed), search_retries=2)
    counts, retries = read_rowless(folder, ["a", "c"])
    assert [(each.searches, each.search_failures) for each in counts] == [(1, 1), (1, 1)]
    assert (retries, read_rowless(folder, ["c"])) == (4, ([], 0))
    assert len(read_rowless(folder)[0]) == 3
    forget_rowless(folder)
    assert read_rowless(folder) == ([], 0)


def test_sessions_of_a_batch_leave_padding_out():
    keys, tags = ["a_0_0", "a_0_1", "a_1_0", "p_0_0"], [{}, {}, {}, {"is_padding": True}]
    assert sessions(keys, tags) == {"a_0", "a_1"}


ROW = {"reward": [0.1], "entropy": 1.0, "generated_tokens": 50, "truncated": 0.0, "invalid_actions": 0.0}
ROW |= {"zero_variance_groups": 0.5, "gradient_norm": 1.0, "kl": 0.0}


@pytest.mark.parametrize(
    ("key", "value", "alarm"),
    [
        ("entropy", 0.001, "entropy_collapsed"),
        ("entropy", 9.0, "entropy_dissolved"),
        ("generated_tokens", 1, "short_responses"),
        ("truncated", 0.9, "truncated"),
        ("invalid_actions", 0.9, "invalid_actions"),
        ("zero_variance_groups", 1.0, "nothing_to_learn"),
        ("gradient_norm", math.nan, "gradient_norm_not_finite"),
    ],
)
def test_each_alarm_has_its_threshold(key, value, alarm):
    assert Monitor(HealthLimits()).look(ROW) == {}
    assert list(Monitor(HealthLimits()).look(ROW | {key: value})) == [alarm]


def test_a_stalled_reward_is_an_alarm_and_progress_ends_it():
    monitor = Monitor(HealthLimits(stall_steps=5))
    alarms = [monitor.look(ROW | {"reward": [0.2]}) for _ in range(16)]
    assert list(alarms[-1]) == ["reward_stalled"]
    assert alarms[10] == {}
    assert monitor.look(ROW | {"reward": [1.0]}) == {}


def test_warnings_never_end_a_training_and_stop_waits_for_its_patience():
    ill = ROW | {"entropy": 0.0}
    warning = Monitor(HealthLimits(patience=2))
    assert [warning.verdict(warning.look(ill)) for _ in range(5)] == [None] * 5
    stopping = Monitor(HealthLimits(action="stop", patience=2))
    assert [stopping.verdict(stopping.look(row)) for row in (ill, ROW, ill)] == [None] * 3
    verdict = stopping.verdict(stopping.look(ill))
    assert verdict is not None and verdict.startswith("entropy_collapsed for 2 steps: entropy (0) is below 0.02")


def folder_with(tmp_path, steps, last):
    folder = RunFiles(tmp_path)
    for step in steps:
        folder.checkpoint(step).mkdir(parents=True)
    (folder.checkpoints / "latest_checkpointed_iteration.txt").write_text(str(last))
    return folder


def test_the_newest_and_the_best_checkpoints_stay(tmp_path):
    folder = folder_with(tmp_path, [10, 20, 30, 40, 50], 40)
    scores = {f"q{number}": float(number < 4) for number in range(8)}
    assert folder.note_validation(10, scores) is None
    assert folder.note_validation(20, scores) == (0, 0)
    assert folder.prune(2, keep_best=True) == [20, 50]
    assert (folder.exported("last"), folder.exported("best")) == (40, 10)
    # One more right of eight is noise, four more are none: 1/2 - 1.895 x 0.5345 / sqrt(8).
    low, high = folder.note_validation(30, scores | {"q4": 1.0})
    assert low < 0 < high and folder.exported("best") == 10
    low, high = folder.note_validation(40, dict.fromkeys(scores, 1.0))
    assert (low, high) == pytest.approx((0.142, 0.858), abs=1e-3)
    assert json.loads(folder.best.read_text())["step"] == 40
    assert folder.prune(1, keep_best=False) == [10, 30]


def test_without_a_whole_checkpoint_there_is_nothing_to_export(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no whole checkpoint"):
        RunFiles(tmp_path).exported("last")


def test_validation_questions_are_held_out_and_always_the_same(tmp_path, root):
    pq.write_table(pa.table({"id": [str(n) for n in range(40)]}), tmp_path / "all.parquet")
    changes = {"training.train_batch_size": 4, "training.mini_batch_size": 2, "training.verl.validation_questions": 6}
    study = load_study(Run(study="demo", overrides=changes), root)
    places = [tmp_path / name for name in ("t.parquet", "v.parquet", "t2.parquet", "v2.parquet")]
    split_questions(tmp_path / "all.parquet", study, *places[:2])
    split_questions(tmp_path / "all.parquet", study, *places[2:])
    train, held_out, *again = (pq.read_table(place)["id"].to_pylist() for place in places)
    assert [train, held_out] == again
    assert (len(train), len(held_out), set(train) & set(held_out)) == (34, 6, set())
    too_many = load_study(Run(study="demo", overrides={**changes, "training.verl.validation_questions": 37}), root)
    with pytest.raises(ValueError, match=r"train_batch_size \(4\) and .*validation_questions \(37\)"):
        split_questions(tmp_path / "all.parquet", too_many, *places[:2])


def test_metrics_are_translated_and_only_numbers_reach_the_tracker():
    metrics = {"actor/grad_norm": 2, "actor/entropy": math.nan, "text": "x", "timing_s/step": 3.0}
    assert translated(metrics)["gradient_norm"] == 2.0
    assert numbers(metrics) == {"actor/grad_norm": 2.0, "timing_s/step": 3.0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resources.train.gpus": 0}, "transformers runs without GPUs"),
        ({"training.verl": {"tensor_parallel": 3}}, r"tensor_parallel \(3\)"),
        (
            {"training.verl": {"micro_batch_size_per_gpu": 7, "use_dynamic_bsz": False}},
            r"a mini-batch of 1280 sequences on 8 ranks",
        ),
        ({"training.verl": {"max_token_len_per_gpu": 8000}}, r"holds 8000 tokens, less than the longest .* \(8192\)"),
        (
            {"methods.mr_search.context": "previous", "training.entropy_coeff": 0.01},
            r"context: previous.* training\.entropy_coeff: set training\.loss_aggregation: token_mean",
        ),
    ],
)
def test_what_verl_cannot_do_is_refused_before_anything_starts(root, changes, message):
    study = load_study(Run(study="paper", overrides=changes), root)
    run = training_run(study, "qwen2.5-7b", "mr_search", 0, Path("shared"), Path("out"))
    with pytest.raises(ValueError, match=message):
        recipe.settings(run)


def test_settings_are_plain_values(root):
    study = load_study(Run(study="paper"), root)
    settings = recipe.settings(training_run(study, "qwen2.5-7b", "mr_search", 3, Path("shared"), Path("out")))
    assert json.loads(json.dumps(settings)) == settings
    assert settings["data"]["seed"] == settings["mr_search"]["seed"] == 3
