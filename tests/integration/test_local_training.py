"""The local trainers, for real: learning, checkpoints, and SIGKILL at any step."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mrsearch.agent.records import read_records
from mrsearch.agent.scoring import rewards
from mrsearch.config import Run, load_study
from mrsearch.data.world import World
from mrsearch.retrieval.indexes import build_index
from mrsearch.retrieval.passages import build_store
from mrsearch.training.base_model import make_base

ROOT = Path(__file__).parents[2]
OVERRIDES = {
    "data.train_entities": 60,
    "data.test_entities": 60,
    "data.train_questions": 200,
    "data.questions_per_benchmark": 4,
    "warm_start.steps": 12,
    "warm_start.traces": 96,
    "warm_start.batch_traces": 8,
    "warm_start.warmup_steps": 2,
    "warm_start.checkpoint_every": 3,
    "training.steps": 5,
    "training.token_budget": None,
    "training.questions_per_step": 4,
    "training.group_size": 3,
    "training.checkpoint_every": 2,
    "models.tiny": {"kind": "tiny", "hidden_size": 32, "layers": 2, "heads": 2, "kv_heads": 2, "intermediate_size": 48},
}
SCRIPT = """
import json, sys
from pathlib import Path
from mrsearch.config import Run, load_study
from mrsearch.training.launch import train_method
study = load_study(Run(study="demo", overrides=json.loads(sys.argv[1])), Path(sys.argv[2]))
shared, out, method, start = Path(sys.argv[3]), Path(sys.argv[4]), sys.argv[5], Path(sys.argv[6])
train_method(study, "tiny", method, 3, start=start, questions=shared / "train.parquet", corpus=shared / "corpus",
             indexes=shared / "index", endpoint=None, out=out / "model", log_file=out / "train.jsonl",
             run=out / "run.json", run_dir=out / "runs")
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Corpus, index, training questions and base model of a very small world."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path_factory.mktemp("shared")
    study = load_study(Run(study="demo", overrides=OVERRIDES), ROOT)
    world = World(study.data)
    build_store(world.passages(), folder / "corpus")
    build_index(study, "dense", folder / "corpus", folder / "index" / "dense")
    rows = [
        {key: row[key] for key in ("id", "question", "golden_answers")} | {"data_source": "train"}
        for row in world.train_questions()
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "train.parquet")
    make_base(study, "tiny", folder / "corpus", folder / "base")
    return folder


def start(shared, out, method, folder, overrides=OVERRIDES):
    """A training process in its own session."""
    command = [
        sys.executable,
        "-c",
        SCRIPT,
        json.dumps(overrides),
        str(ROOT),
        str(shared),
        str(out),
        method,
        str(folder),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)


def train(shared, out, method, folder, overrides=OVERRIDES):
    process = start(shared, out, method, folder, overrides)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    return out / "model"


def weights(folder):
    return load_file(folder / "model.safetensors")


def rows(out):
    return [
        {k: v for k, v in json.loads(line).items() if k != "seconds"}
        for line in (out / "train.jsonl").read_text().splitlines()
    ]


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


@pytest.fixture(scope="module")
def warm(shared, tmp_path_factory):
    out = tmp_path_factory.mktemp("warm")
    train(shared, out, "warm_start", shared / "base")
    return out


def kill_after(shared, out, method, folder, lines):
    """Start a training and SIGKILL it once its log has so many rows; returns how many it had."""
    process = start(shared, out, method, folder)
    log = out / "runs" / "train.jsonl"
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        if log.exists() and len(log.read_text().splitlines()) >= lines:
            break
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (out / "model").exists(), "the training ended before it could be killed"
    return len(log.read_text().splitlines())


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
            assert record.tags["rewards"][member] == rewards(record, "em")
        if method == "mr_search" and all(len(record.episodes) == 3 for record in group):
            sums = [sum(values) for values in group[0].tags["rewards"]]
            expected = [own - (sum(sums) - own) / 2 for own in sums]
            assert [values[0] for values in group[0].tags["advantages"]] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("method", ["mr_search", "search_r1"])
def test_killed_policy_training_ends_with_the_same_weights(shared, warm, tmp_path, method):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(shared, whole, method, warm / "model")
    for lines in (1, 3):
        kill_after(shared, broken, method, warm / "model", lines=lines)
    train(shared, broken, method, warm / "model")
    assert_same(weights(whole / "model"), weights(broken / "model"))
    assert rows(whole) == rows(broken)
    assert (whole / "groups.jsonl.gz").read_bytes() == (broken / "groups.jsonl.gz").read_bytes()
    assert_groups_add_up(list(read_records(whole / "groups.jsonl.gz")), method)
    log = rows(whole)
    assert [row["step"] for row in log] == list(range(5))
    assert {
        "em",
        "searches",
        "generated_tokens",
        "nll",
        "entropy",
        "clip_fraction",
        "gradient_norm",
        "total_tokens",
    } <= log[0].keys()


def test_token_budget_ends_the_training(shared, warm, tmp_path):
    budget = {**OVERRIDES, "training.steps": 50, "training.token_budget": 4000}
    train(shared, tmp_path, "search_r1", warm / "model", budget)
    totals = [row["total_tokens"] for row in rows(tmp_path)]
    assert totals[-1] >= 4000
    assert all(total < 4000 for total in totals[:-1])


def test_too_few_questions_are_named(shared, warm, tmp_path):
    process = start(shared, tmp_path, "search_r1", warm / "model", {**OVERRIDES, "training.questions_per_step": 300})
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "training.questions_per_step (300) is larger than the training set (200 questions)" in errors
    assert not (tmp_path / "model").exists()


def test_r1_without_search_and_rejection_sampling_train(shared, tmp_path):
    """Two rivals that differ from Search-R1 in one key each: the procedure, or the estimator."""
    methods = {
        "methods.r1": {"procedure": "cot", "train": {"algorithm": "grpo"}},
        "methods.rejection": {"train": {"algorithm": "rejection"}},
    }
    for method in ("r1", "rejection"):
        train(shared, tmp_path / method, method, shared / "base", OVERRIDES | methods)
        logged = rows(tmp_path / method)
        assert [row["step"] for row in logged] == [0, 1, 2, 3, 4]
        assert all(row["generated_tokens"] > 0 for row in logged)
        if method == "r1":
            assert {(row["searches"], row["turns"]) for row in logged} == {(0, 1)}
