"""An evaluation killed ten times at random goes on with the first unanswered wave and ends with the same records."""

from __future__ import annotations

import multiprocessing
import random
import time
from pathlib import Path

import pytest

from mrsearch.agent.records import read_records
from mrsearch.config import Study
from mrsearch.data.questions import read_passages, write_questions
from mrsearch.evaluation.run import evaluate
from mrsearch.retrieval.indexes import build_index
from mrsearch.retrieval.passages import build_store
from mrsearch.training.base_model import make_base

pytestmark = pytest.mark.integration
KILLS = 10
STUDY = {
    "name": "killed",
    "data": {"kind": "world", "train_entities": 40, "test_entities": 80, "questions_per_benchmark": 24},
    "protocol": {
        "prompts": {"search": "question {question}", "reflection": "reflect", "invalid_action": "nothing"},
        "passage_format": "( {title} ) {text} ",
        "observation_format": "<information> {passages} </information>",
        "observation_tokens": 20,
        "turn_tokens": 12,
        "context_tokens": 200,
        "append_question_mark": False,
    },
    "retrieval": {
        "use": "dense",
        "topk": 1,
        "retrievers": {"dense": {"kind": "dense", "encoder": {"kind": "bow"}}},
    },
    "models": {"tiny": {"kind": "tiny", "hidden_size": 32, "layers": 1, "heads": 2, "kv_heads": 2}},
    "methods": {"search_r1": {"policy": "base", "episodes": 2, "turns": 2}},
    "benchmarks": {"single_hop": {}, "two_hop": {}},
    "evaluation": {"decoding": {"sampled": {"temperature": 1.0}}, "concurrency": 3},
    "report": {"decoding": "sampled"},
}


def run(study: Study, inputs: Path, out: Path) -> None:
    folders = {"policy": inputs / "model", "questions": inputs / "data", "corpus": inputs / "corpus"}
    evaluate(
        study,
        "tiny",
        "search_r1",
        0,
        **folders,
        indexes=inputs / "index",
        endpoint=None,
        out=out / "eval",
        cache=out / "c",
    )


def done(folder: Path) -> dict[str, int]:
    """Finished waves and files, and which file on disk each is."""
    return {str(path.relative_to(folder)): path.stat().st_ino for path in folder.rglob("*.jsonl.gz")}


def test_ten_kills_change_nothing(tmp_path):
    study = Study.model_validate(STUDY)
    for benchmark in study.benchmarks:
        write_questions(study, benchmark, tmp_path / "data" / f"{benchmark}.parquet")
    build_store(read_passages(study), tmp_path / "corpus")
    build_index(study, "dense", tmp_path / "corpus", tmp_path / "index" / "dense")
    make_base(study, "tiny", tmp_path / "corpus", tmp_path / "model")
    context, rng = multiprocessing.get_context("fork"), random.Random(5)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    known: dict[str, int] = {}
    for number in range(KILLS):
        job = context.Process(target=run, args=(study, tmp_path, killed))
        job.start()
        deadline = time.monotonic() + 120
        # Now and then the kill comes before any progress, else after at least one more wave.
        while number % 4 and not set(done(killed).values()) - set(known.values()) and job.is_alive():
            assert time.monotonic() < deadline, "no wave in two minutes"
            time.sleep(0.001)
        time.sleep(rng.random() * 0.05)
        assert job.is_alive(), f"the evaluation ended before kill {number + 1}"
        job.kill()
        job.join()
        now = done(killed)
        assert all(now[name] == inode for name, inode in known.items() if name in now), "a finished wave was made again"
        known = now
    assert known, "something was finished between the kills"
    for out in (killed, whole):
        job = context.Process(target=run, args=(study, tmp_path, out))
        job.start()
        job.join()
        assert job.exitcode == 0
    for benchmark in study.benchmarks:
        name = f"eval/{benchmark}.sampled.jsonl.gz"
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
        assert len(list(read_records(killed / name))) == 24
    assert not (killed / "c").exists()
