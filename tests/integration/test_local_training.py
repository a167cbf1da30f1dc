"""The local trainers, for real: learning, checkpoints, and SIGKILL at any step."""

import json
import re
import subprocess
import sys

import pytest
import torch
from support.evaluations import evaluate
from support.project import ROOT
from support.small_training import OVERRIDES, assert_same, kill_after, rows, train, weights
from support.small_world import make_shared
from support.trainings import training_run

from mrsearch.agent.record_files import read_records
from mrsearch.agent.scoring import episode_scores
from mrsearch.config import Run, load_study
from mrsearch.data.questions import write_questions
from mrsearch.evaluation.provenance import describe
from mrsearch.training.health import Unhealthy
from mrsearch.training.launch import train_method

BLOCKS = ("toml", "python", "yaml")
"""The files that the guide shows."""
EXTENSIONS = (
    *("algorithm/scaled", "base/first_word", "kind/titles_first"),
    *("preset/terse", "procedure/hinted", "term/brevity"),
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Corpus, index, training questions and base model of a very small world."""
    return make_shared(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def warm(shared, tmp_path_factory):
    out = tmp_path_factory.mktemp("warm")
    train(shared, out, "warm_start", shared / "base")
    return out


def test_warm_start_learns_and_exports_ordinary_files(shared, warm):
    from transformers import AutoModelForCausalLM

    log = rows(warm)
    assert [row["step"] for row in log] == list(range(12))
    assert log[-1]["nll"] < log[0]["nll"] - 0.5
    assert AutoModelForCausalLM.from_pretrained(warm / "model").config.model_type == "qwen2"
    assert json.loads((warm / "run.json").read_text())["seeds"] == [3]


def test_killed_warm_start_ends_with_the_same_weights(shared, warm, tmp_path):
    done = kill_after(shared, tmp_path, "warm_start", shared / "base", lines=5)
    assert 5 <= done < 12
    assert_same(weights(train(shared, tmp_path, "warm_start", shared / "base")), weights(warm / "model"))
    assert rows(tmp_path) == rows(warm)


def assert_groups_add_up(records, method):
    """Two groups of three of steps 0, 1, 2 and 4; advantages of the first episode checked by hand."""
    assert [record.tags["step"] for record in records] == [step for step in (0, 1, 2, 4) for _ in range(6)]
    assert [record.tags["member"] for record in records] == [0, 1, 2] * 8
    for number in range(0, len(records), 3):
        group = records[number : number + 3]
        assert len({record.question.id for record in group}) == 1
        assert [len(rewards) for rewards in group[0].tags["rewards"]] == [len(record.episodes) for record in group]
        for member, record in enumerate(group):
            assert record.tags["rewards"][member] == episode_scores(record, "em")
        if method == "mr_search" and all(len(record.episodes) == 3 for record in group):
            sums = [sum(values) for values in group[0].tags["rewards"]]
            expected = [own - (sum(sums) - own) / 2 for own in sums]
            assert [values[0] for values in group[0].tags["advantages"]] == pytest.approx(expected, abs=1e-5)


ADAPTED = {"training.lora": {"rank": 2, "alpha": 8}, "training.kl_coef": 0.1, "training.entropy_coeff": 0.1}
ADAPTED |= {"training.learning_rate": 0.01}


@pytest.mark.parametrize(("method", "changes"), [("mr_search", {}), ("search_r1", ADAPTED)])
def test_killed_policy_training_ends_with_the_same_weights(shared, warm, tmp_path, method, changes):
    """The second trains adapters alone, with the policy below them as the reference."""
    whole, broken, overrides = tmp_path / "whole", tmp_path / "broken", OVERRIDES | changes
    train(shared, whole, method, warm / "model", overrides)
    for lines in (1, 3):
        kill_after(shared, broken, method, warm / "model", lines=lines, overrides=overrides)
    train(shared, broken, method, warm / "model", overrides)
    assert_same(weights(whole / "model"), weights(broken / "model"))
    assert rows(whole) == rows(broken)
    assert (whole / "groups.jsonl.zst").read_bytes() == (broken / "groups.jsonl.zst").read_bytes()
    assert_groups_add_up(list(read_records(whole / "groups.jsonl.zst")), method)
    log = rows(whole)
    assert [row["step"] for row in log] == list(range(5))
    assert {
        "reward",
        "searches",
        "generated_tokens",
        "nll",
        "entropy",
        "clip_fraction",
        "gradient_norm",
        "total_tokens",
    } <= log[0].keys()
    if changes:
        started, ended = weights(warm / "model"), weights(whole / "model")
        assert started.keys() == ended.keys()
        changed = {name for name in started if not torch.equal(started[name], ended[name])}
        assert changed == {name for name in started if name.endswith("_proj.weight")}
        state = torch.load(whole / "runs" / "step-000005" / "state.pt", weights_only=True)
        assert len(state["model"]) == len(state["optimizer"]["state"]) == 2 * len(changed)
        assert all(".lora_" in name for name in state["model"])


def test_token_budget_ends_the_training(shared, warm, tmp_path):
    budget = {**OVERRIDES, "training.steps": 50, "training.token_budget": 4000}
    train(shared, tmp_path, "search_r1", warm / "model", budget)
    totals = [row["total_tokens"] for row in rows(tmp_path)]
    assert totals[-1] >= 4000
    assert all(total < 4000 for total in totals[:-1])


def test_an_alarm_ends_the_training_which_goes_on_once_its_rule_is_another(shared, tmp_path):
    few = {"training.steps": 3, "training.checkpoint_every": 50, "training.train_batch_size": 2}
    few |= {"training.group_size": 2, "protocol.max_turn_tokens": 6, "protocol.max_context_tokens": 150}
    limits = {"action": "stop", "patience": 2, "min_thinking_characters": 1e6}
    study = load_study(Run(study="demo", overrides=OVERRIDES | few | {"training.reasoning": limits}), ROOT)
    alarm = r"low_thinking_characters for 2 steps: .* change the method or training\.reasoning"
    for message in (rf"^{alarm}", rf"the training does not go on after step 2: {alarm}"):
        with pytest.raises(Unhealthy, match=message):
            train_method(training_run(study, "tiny", "search_r1", 3, shared, tmp_path))
        assert [path.name for path in (tmp_path / "runs").glob("step-*")] == ["step-000002"]
        assert len((tmp_path / "runs" / "train.jsonl").read_text().splitlines()) == 2
    study = load_study(Run(study="demo", overrides=OVERRIDES | few), ROOT)
    train_method(training_run(study, "tiny", "search_r1", 3, shared, tmp_path))
    assert [row["step"] for row in rows(tmp_path)] == [0, 1, 2]


def test_checkpoints_by_time_stand_beside_those_by_steps(shared, warm, tmp_path):
    """So short a time has passed at the end of every step."""
    timed = {**OVERRIDES, "training.checkpoint_every": 4, "training.checkpoint_minutes": 1e-6}
    timed |= {"training.steps": 3, "training.checkpoints_kept": 9}
    train(shared, tmp_path, "search_r1", warm / "model", timed)
    assert sorted(folder.name for folder in (tmp_path / "runs").glob("step-*")) == [f"step-{n:06d}" for n in (1, 2, 3)]


def test_too_few_questions_are_named(shared, warm, tmp_path):
    sizes = {**OVERRIDES, "training.train_batch_size": 300, "training.mini_batch_size": 150}
    message = r"training.train_batch_size \(300\) is larger than the training set \(200 questions\)"
    with pytest.raises(ValueError, match=message):
        train(shared, tmp_path, "search_r1", warm / "model", sizes)
    assert not (tmp_path / "model").exists()


def test_r1_without_search_and_rejection_sampling_train(shared, tmp_path):
    """Two baselines that differ from Search-R1 in one key each: the procedure, or the estimator."""
    methods = {
        "methods.r1": {"procedure": "cot", "train": {"algorithm": "grpo"}},
        "methods.raft": {"train": {"algorithm": "raft"}},
    }
    for method in ("r1", "raft"):
        train(shared, tmp_path / method, method, shared / "base", OVERRIDES | methods)
        logged = rows(tmp_path / method)
        assert [row["step"] for row in logged] == [0, 1, 2, 3, 4]
        assert all(row["generated_tokens"] > 0 for row in logged)
        if method == "r1":
            assert {(row["searches"], row["turns"]) for row in logged} == {(0, 1)}


def test_groups_without_variance_make_room_for_others(shared, warm, tmp_path):
    filtered = {**OVERRIDES, "training.steps": 2, "training.filter_groups": {"max_num_gen_batches": 3}}
    train(shared, tmp_path, "search_r1", warm / "model", filtered)
    log = rows(tmp_path)
    size, members = (filtered[f"training.{key}"] for key in ("train_batch_size", "group_size"))
    assert {row["generated_groups"] for row in log} <= {size, 2 * size, 3 * size}
    assert any(row["generated_groups"] > size for row in log)
    sums = [sum(row["length"] * row["generated_groups"] * members for row in log[: n + 1]) for n in range(2)]
    assert [row["total_tokens"] for row in log] == pytest.approx(sums)


def test_terms_of_a_reward_are_trained_on_and_logged_apart(shared, tmp_path):
    reward = {"terms": {"searches": -0.25, "no_answer": -0.5}}
    methods = {"methods.shaped": {"episodes": 2, "train": {"algorithm": "mr_search", "reward": reward}}}
    train(shared, tmp_path, "shaped", shared / "base", OVERRIDES | {"training.steps": 2} | methods)
    for row in rows(tmp_path):
        expected = [
            score - 0.25 * searches - 0.5 * no_answer
            for score, searches, no_answer in zip(
                row["score"], row["reward_searches"], row["reward_no_answer"], strict=True
            )
        ]
        assert row["reward"] == pytest.approx(expected, abs=1e-6)
        assert sum(row["reward_searches"]) == pytest.approx(row["searches"])
    record = next(read_records(tmp_path / "groups.jsonl.zst"))
    assert min(map(min, record.tags["rewards"])) < 0


def test_turns_are_credited_and_masked(shared, warm, tmp_path):
    train_keys = {"algorithm": "mr_search", "turn_credit": {"weight": 0.5}, "mask_abnormal_turns": True}
    methods = {"methods.credited": {"episodes": 2, "train": train_keys}}
    train(shared, tmp_path, "credited", warm / "model", OVERRIDES | {"training.steps": 2} | methods)
    for row in rows(tmp_path):
        assert row["information_gain"] != 0 and abs(row["information_gain"]) < 1
        assert 0 <= row["masked_turns"] < 1
        assert row["gradient_norm"] > 0


def test_what_a_small_card_needs_trains_on_a_cpu_too(shared, warm, tmp_path):
    """bfloat16, blocks computed again, passes by tokens, logits in chunks, few meta-episodes at a time: a warm start,
    and a policy training with credit of turns, a reference and validation."""
    saving = {"dtype": "bfloat16", "gradient_checkpointing": True, "logits_chunk": 16, "max_token_len_per_gpu": 700}
    policy = {**saving, "concurrency": 5, "validation_questions": 3, "validate_every": 2, "export": "best"}
    methods = {"methods.credited": {"episodes": 2, "train": {"algorithm": "mr_search", "turn_credit": {}}}}
    changes = {**methods, "warm_start.local": saving, "warm_start.steps": 4, "training.local": policy}
    changes |= {"training.steps": 2, "training.kl_coef": 0.1, "training.entropy_coeff": 0.01}
    study = load_study(Run(study="demo", overrides=OVERRIDES | changes), ROOT)
    for method, start_folder in (("warm_start", shared / "base"), ("credited", warm / "model")):
        out = tmp_path / method
        train_method(training_run(study, "tiny", method, 3, shared, out, start=start_folder))
        trained, before = weights(out / "model"), weights(start_folder)
        assert all(row["gradient_norm"] > 0 for row in rows(out))
        assert {weight.dtype for weight in trained.values()} == {torch.float32}
        assert not torch.equal(*(values["model.embed_tokens.weight"] for values in (trained, before)))
    exact = [row["nll"] for row in rows(warm)]
    # The first step alone: the learning rate falls faster in a shorter training.
    assert rows(tmp_path / "warm_start")[0]["nll"] == pytest.approx(exact[0], rel=0.02)


def test_the_package_of_the_guide_trains_and_evaluates(shared, tmp_path, monkeypatch):
    """What docs/guides/extension.md shows, installed by pip: one of each kind of extension, in a training and an
    evaluation."""
    page = (ROOT / "docs" / "guides" / "extension.md").read_text(encoding="utf-8")
    (project,), (module,), (named,) = (re.findall(rf"```{kind}\n(.*?)```", page, re.S) for kind in BLOCKS)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "pyproject.toml").write_text(project)
    (tmp_path / "package" / "my_search_ideas.py").write_text(module)
    (tmp_path / "study.yaml").write_text(named)
    target = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--target", str(target), str(tmp_path / "package")], check=True)
    monkeypatch.syspath_prepend(str(target))

    overrides = {**OVERRIDES, "training.steps": 1, "training.train_batch_size": 2, "retrieval.compared": []}
    overrides |= {"evaluation.decoding": {"greedy": {}}, "training.group_size": 2}
    overrides |= {"protocol.max_turn_tokens": 6, "protocol.max_context_tokens": 150}
    study = load_study(Run(study=str(tmp_path / "study.yaml"), overrides=overrides), ROOT)
    out = tmp_path / "out"
    train_method(training_run(study, "tiny", "my_method", 0, shared, out))
    (row,) = rows(out)
    assert {"score", "base", "brevity"} <= {key.split("_episode")[0].removeprefix("reward_") for key in row}, row
    for benchmark in study.benchmarks:
        write_questions(study, benchmark, tmp_path / "questions" / f"{benchmark}.parquet")
    places = {"policy": out / "model", "questions": tmp_path / "questions", "corpus": shared / "corpus"}
    places |= {"indexes": shared / "index", "endpoint": None, "out": tmp_path / "eval", "cache": tmp_path / "cache"}
    evaluate(study, "tiny", "my_method", 0, **places, limit=1)
    for record in (out / "run.json", tmp_path / "eval" / "run.json"):
        assert json.loads(record.read_text())["extensions"] == dict.fromkeys(EXTENSIONS, "my-search-ideas 0.1.0")
    assert "kind/titles_first of my-search-ideas 0.1.0" in describe(study)
