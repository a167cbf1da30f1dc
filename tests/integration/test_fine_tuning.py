"""Fine-tuning, for real: golden answers, then what the tuned policy itself gets right, with SIGKILL in both phases."""

import json
import sys

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from support.project import ROOT
from support.small_training import (
    OVERRIDES,
    assert_same,
    kill_after,
    kill_when,
    rows,
    start,
    train,
    weights,
)
from support.small_world import make_shared
from support.trainings import training_run

from mrsearch.config import Run, load_study
from mrsearch.policy.tokenizer import load_tokenizer
from mrsearch.training.sft.demonstration_file import DemonstrationFile

pytestmark = pytest.mark.integration
TUNED = OVERRIDES | {
    "sft": {
        "steps": 60,
        "train_batch_size": 8,
        "micro_batch_size": 3,
        "learning_rate": 2e-2,
        "warmup_steps": 3,
        "checkpoint_every": 4,
        "questions": 12,
        "samples": 4,
    },
    "evaluation.concurrency": 8,
    "methods.sft": {"procedure": "direct", "train": {"algorithm": "sft", "demonstrations": "gold_answers"}},
    "methods.own": {
        "procedure": "direct",
        "train": {"algorithm": "sft", "demonstrations": "self_generated", "start": "sft"},
    },
    "methods.own_agent": {
        "episodes": 2,
        "train": {"algorithm": "sft", "demonstrations": "self_generated", "start": "warm_start"},
    },
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return make_shared(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def sft(shared, tmp_path_factory):
    """A tiny model that was shown the golden answers of twelve questions."""
    out = tmp_path_factory.mktemp("sft")
    train(shared, out, "sft", shared / "base", TUNED)
    return out


@pytest.fixture(scope="module")
def own(shared, sft, tmp_path_factory):
    """That model, trained further on what it then got right."""
    out = tmp_path_factory.mktemp("own")
    train(shared, out, "own", sft / "model", TUNED)
    return out


def described(out):
    return json.loads((out / "run.json").read_text())["demonstrations"]


def test_golden_answers_are_learned(shared, sft):
    log = rows(sft)
    assert [row["step"] for row in log] == list(range(60))
    assert log[-1]["nll"] < log[0]["nll"] / 3
    assert described(sft)["right"] == described(sft)["demonstrations"] == described(sft)["records"] == 12


def test_own_meta_episodes_are_kept_only_where_right(shared, sft, own):
    counts = described(own)
    assert counts["records"] == 48
    assert 0 < counts["right"] < 48
    demonstrations, tokenizer = (
        DemonstrationFile(own / "runs" / "demonstrations.parquet"),
        load_tokenizer(sft / "model"),
    )
    assert len(demonstrations) == counts["right"] == counts["demonstrations"]
    golds = {row["question"]: row["golden_answers"] for row in pq.read_table(shared / "train.parquet").to_pylist()}
    for demonstration in demonstrations:
        generated = [token for token, told in zip(*demonstration, strict=True) if told]
        text = tokenizer.decode(demonstration.token_ids)
        (question,) = [question for question in golds if question in text]
        assert tokenizer.decode(generated).split("<answer>")[1].split("</answer>")[0].strip() in golds[question]
    assert not list((own / "runs").glob("*.kept")), "they go when their demonstrations are written"


def test_a_killed_sampling_and_a_killed_training_end_with_the_same_bytes(shared, sft, own, tmp_path):
    chunks = tmp_path / "runs"
    process = start(shared, tmp_path, "own", sft / "model", TUNED)
    kill_when(process, lambda: len(list(chunks.glob("*.kept/00000[12].jsonl.zst"))) > 0, tmp_path)
    kept = sorted(chunks.glob("*.kept/*.jsonl.zst"))
    if not (chunks / "demonstrations.parquet").exists():
        assert 2 <= len(kept) <= 6
    finished = kept[0].stat().st_mtime_ns if kept else None
    assert 5 <= kill_after(shared, tmp_path, "own", sft / "model", 5, TUNED) < 60
    assert finished is None or not kept[0].exists()
    train(shared, tmp_path, "own", sft / "model", TUNED)
    assert (chunks / "demonstrations.parquet").read_bytes() == (own / "runs" / "demonstrations.parquet").read_bytes()
    assert_same(weights(tmp_path / "model"), weights(own / "model"))
    assert rows(tmp_path) == rows(own)


def test_meta_episodes_with_searches_are_sampled_and_imitated(shared, tmp_path):
    """Two episodes each, from a warm start: searches are counted, observations are not trained."""
    longer = TUNED | {"warm_start.steps": 150, "warm_start.learning_rate": 1e-2}
    warm = train(shared, tmp_path / "warm", "warm_start", shared / "base", longer)
    settings = TUNED["sft"] | {"questions": 200, "steps": 3}
    more = longer | {"sft": settings, "evaluation.concurrency": 400}
    train(shared, tmp_path / "own", "own_agent", warm, more)
    counts = described(tmp_path / "own")
    assert counts["searches"] > 0
    assert 0 < counts["right"] < counts["records"] == 800
    tokenizer = load_tokenizer(warm)
    for demonstration in DemonstrationFile(tmp_path / "own" / "runs" / "demonstrations.parquet"):
        told = tokenizer.decode([token for token, own in zip(*demonstration, strict=True) if not own])
        generated = tokenizer.decode([token for token, own in zip(*demonstration, strict=True) if own])
        assert told.startswith("<|im_start|>")
        assert "<answer>" in generated


def test_own_meta_episodes_come_from_a_server_as_well(shared, sft, tmp_path):
    """A generation server starts for the sampling and has ended when the training is over."""
    server = ROOT / "tests" / "support" / "http_engine.py"
    command = [sys.executable, str(server), "--model", "{model}", "--port", "{port}"]
    engine = {"evaluation.generator": {"kind": "vllm", "command": command, "start_seconds": 300}}
    train(shared, tmp_path, "own", sft / "model", TUNED | engine)
    counts = described(tmp_path)
    assert counts["records"] == 48
    assert 0 < counts["right"] < 48
    assert "Loading weights" in (tmp_path / "runs" / "generator.log").read_text(), "no server was started"
    lines = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    assert not [line for line in lines if str(server) in line and str(sft / "model") in line]


def test_real_questions_are_fine_tuned_on(real_data, tmp_path):
    """Published questions with their golden answers, a byte-level tokenizer and the shipped study of baselines."""
    from mrsearch.policy.base_model import make_base
    from mrsearch.retrieval.indexes.passages import build_store, corpus_texts
    from mrsearch.training.launch import train_method

    tiny = {"kind": "tiny", "tokenizer": "bpe", "vocabulary": 1024, "hidden_size": 32, "layers": 1, "heads": 2}
    overrides = {
        "models": {"tiny": tiny | {"kv_heads": 2, "intermediate_size": 48}},
        "sft": {"steps": 4, "train_batch_size": 8, "micro_batch_size": 8, "warmup_steps": 1, "learning_rate": 1e-2},
        "resources.sft": {"gpus": 0},
        "protocol.max_turn_tokens": 64,
        "seeds": [0],
    }
    study = load_study(Run(study="baselines", overrides=overrides), ROOT)
    assert study.data.kind == "hub"
    lines = (real_data / "questions" / "nq.dev.jsonl").read_text(encoding="utf-8").splitlines()[:40]
    wanted = ("id", "question", "golden_answers")
    questions = [{key: json.loads(line)[key] for key in wanted} | {"data_source": "nq"} for line in lines]
    pq.write_table(pa.Table.from_pylist(questions), tmp_path / "train.parquet")
    build_store(((one["id"], "", one["question"]) for one in questions), tmp_path / "corpus")
    make_base(study, "tiny", corpus_texts(tmp_path / "corpus"), tmp_path / "base")
    (tmp_path / "index").mkdir()
    train_method(training_run(study, "tiny", "sft", 0, tmp_path, tmp_path))
    assert torch.tensor(1e-40) * 2 > 0, "whoever called it has denormal numbers again"
    log, counts = rows(tmp_path), described(tmp_path)
    assert counts["records"] == 40
    assert counts["right"] == 40
    assert log[-1]["nll"] < log[0]["nll"]
    tokenizer = load_tokenizer(tmp_path / "model")
    for demonstration, one in zip(
        DemonstrationFile(tmp_path / "runs" / "demonstrations.parquet"), questions, strict=True
    ):
        assert tokenizer.decode(demonstration.token_ids).endswith(f"<answer> {one['golden_answers'][0]} </answer>")
