"""The evaluator on a real, untrained tiny model over the synthetic world."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mrsearch.agent.records import StopReason, read_records
from mrsearch.config import Study
from mrsearch.evaluation.run import evaluate

QUESTIONS = 5


@pytest.fixture(scope="module")
def study() -> Study:
    return Study.model_validate(
        {
            "name": "tiny",
            "seeds": [0, 1],
            "data": {"kind": "world", "train_entities": 40, "test_entities": 80, "questions_per_benchmark": QUESTIONS},
            "protocol": {
                "prompts": {
                    "search": "question {question}",
                    "reflection": "reflect",
                    "direct": "direct {question}",
                    "cot": "direct {question}",
                    "rag": "{information} direct {question}",
                    "invalid_action": "nothing",
                },
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
                "client": {"timeout_seconds": 0.2, "patience_seconds": 0.2},
            },
            "models": {"tiny": {"kind": "tiny", "hidden_size": 32, "layers": 1, "heads": 2, "kv_heads": 2}},
            "methods": {
                "search_r1": {"policy": "base"},
                "sequential": {"policy": "base", "episodes": 3, "turns": 2},
                "rag": {"procedure": "rag"},
            },
            "benchmarks": {"single_hop": {}, "two_hop": {}},
            "evaluation": {"decoding": {"greedy": {}, "sampled": {"temperature": 1.0}}, "concurrency": 3},
        }
    )


@pytest.fixture(scope="module")
def inputs(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions, passages, index and an untrained model, made as the pipeline makes them."""
    from mrsearch.data.questions import read_passages, write_questions
    from mrsearch.retrieval.indexes import build_index
    from mrsearch.retrieval.passages import build_store
    from mrsearch.training.base_model import make_base

    root = tmp_path_factory.mktemp("inputs")
    for benchmark in study.benchmarks:
        write_questions(study, benchmark, root / "data" / f"{benchmark}.parquet")
    build_store(read_passages(study), root / "corpus")
    build_index(study, "dense", root / "corpus", root / "index" / "dense")
    make_base(study, "tiny", root / "corpus", root / "model")
    return root


def run(
    study: Study, inputs: Path, out: Path, method: str = "sequential", seed: int = 0, **changes: Path | None
) -> Path:
    folders: dict[str, Path | None] = {
        "policy": inputs / "model",
        "questions": inputs / "data",
        "corpus": inputs / "corpus",
        "indexes": inputs / "index",
        "endpoint": None,
        **changes,
    }
    evaluate(study, "tiny", method, seed, **folders, out=out / "eval", cache=out / "cache")  # type: ignore[arg-type]
    return out / "eval"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.jsonl.gz")}


@pytest.fixture(scope="module")
def finished(study: Study, inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(study, inputs, tmp_path_factory.mktemp("finished"))


def test_records_are_complete(study: Study, finished: Path):
    assert set(contents(finished)) == {
        f"{benchmark}.{decoding}.jsonl.gz" for benchmark in study.benchmarks for decoding in study.evaluation.decoding
    }
    for benchmark in study.benchmarks:
        records = list(read_records(finished / f"{benchmark}.greedy.jsonl.gz"))
        assert len({record.question.id for record in records}) == len(records) == QUESTIONS
        for record in records:
            place = {name: record.tags[name] for name in ("study", "model", "method", "seed", "decoding", "benchmark")}
            assert list(place.values()) == ["tiny", "tiny", "sequential", 0, "greedy", benchmark]
            assert {len(values) for values in record.tags["scores"].values()} == {len(record.episodes)}
            generated = sum(turn.end - turn.start for episode in record.episodes for turn in episode.turns)
            assert sum(record.tags["scores"]["generated_tokens"]) == generated == sum(record.loss_mask)
    assert not (finished.parent / "cache").exists()


def test_costs_stand_apart_from_the_records(finished: Path):
    run_json = json.loads((finished / "run.json").read_text())
    assert run_json["parts"]["two_hop.sampled"]["questions"] == QUESTIONS
    assert run_json["parts"]["two_hop.sampled"]["seconds"] > 0
    first = next(iter(read_records(finished / "two_hop.sampled.jsonl.gz")))
    assert not [name for name in first.tags if "second" in name or "time" in name]


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(
    study: Study, inputs: Path, finished: Path, tmp_path: Path
):
    assert contents(run(study, inputs, tmp_path / "again")) == contents(finished)
    other = contents(run(study, inputs, tmp_path / "other", seed=1))
    assert other["single_hop.sampled.jsonl.gz"] != contents(finished)["single_hop.sampled.jsonl.gz"]


@pytest.mark.integration
def test_killed_at_any_time_it_goes_on_and_ends_the_same(study: Study, inputs: Path, finished: Path, tmp_path: Path):
    """SIGKILL between the first and the last file, several times; the finished files are kept."""
    (tmp_path / "study.json").write_text(study.model_dump_json())
    program = (
        "import sys; from pathlib import Path; from mrsearch.config import read_study;"
        "from mrsearch.evaluation.run import evaluate; study, root, out = map(Path, sys.argv[1:]);"
        "evaluate(read_study(study), 'tiny', 'sequential', 0, policy=root / 'model', questions=root / 'data',"
        "corpus=root / 'corpus', indexes=root / 'index', endpoint=None, out=out / 'eval', cache=out / 'cache')"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "study.json"), str(inputs), str(tmp_path)]
    kept: dict[str, int] = {}
    for wanted in (1, 3):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while len(inodes(tmp_path / "cache")) < wanted and process.poll() is None:
            assert time.monotonic() < deadline, "no file in two minutes"
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
        now = inodes(tmp_path / "cache")
        assert kept.items() <= now.items(), "a finished file was made again"
        kept = now
    assert contents(run(study, inputs, tmp_path)) == contents(finished)
    assert kept.items() <= inodes(tmp_path / "eval").items()


def inodes(folder: Path) -> dict[str, int]:
    """Which file on disk bears a name: equal numbers are one and the same file."""
    found = {}
    for place, _, names in os.walk(folder):  # which minds no folder that goes away meanwhile
        for name in names:
            if name.endswith(".jsonl.gz") and not place.endswith(".waves"):
                with contextlib.suppress(FileNotFoundError):
                    found[name] = Path(place, name).stat().st_ino
    return found


def test_a_cache_of_other_inputs_is_not_used(study: Study, inputs: Path, finished: Path, tmp_path: Path):
    stale = tmp_path / "cache" / "0123456789abcdef" / "single_hop.greedy.jsonl.gz"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"of another policy")
    assert contents(run(study, inputs, tmp_path)) == contents(finished)


def test_failing_searches_abort(study: Study, inputs: Path, tmp_path: Path):
    """A server that does not exist: every search fails for good."""
    raw = study.model_dump()
    raw["retrieval"]["service"]["mode"] = "http"
    (tmp_path / "endpoint.json").write_text(json.dumps({"url": "http://127.0.0.1:9", "boot": "none"}))
    with pytest.raises(ValueError, match=r"single_hop, greedy: 5 of 5 searches failed, more than .*max_failure_rate"):
        run(Study.model_validate(raw), inputs, tmp_path, "rag", endpoint=tmp_path / "endpoint.json")
    assert not (tmp_path / "eval").exists()


def test_tolerated_failures_are_recorded(study: Study, inputs: Path, tmp_path: Path):
    raw = study.model_dump()
    raw["retrieval"]["service"]["mode"] = "http"
    raw["retrieval"]["client"]["max_failure_rate"] = 1.0
    (tmp_path / "endpoint.json").write_text(json.dumps({"url": "http://127.0.0.1:9", "boot": "none"}))
    out = run(Study.model_validate(raw), inputs, tmp_path, "rag", endpoint=tmp_path / "endpoint.json")
    records = list(read_records(out / "single_hop.greedy.jsonl.gz"))
    assert [record.stop for record in records] == [StopReason.search_failed] * QUESTIONS
    assert json.loads((out / "run.json").read_text())["parts"]["single_hop.greedy"]["search_failures"] == QUESTIONS


@pytest.mark.integration
def test_questions_that_run_out_of_time_are_counted_and_abort(study: Study, inputs: Path, tmp_path: Path):
    """A generation server that is too slow for every question."""
    server = Path(__file__).parents[1] / "http_engine.py"
    command = [sys.executable, str(server), "--model", "{model}", "--port", "{port}"]
    raw = study.model_dump()
    raw["evaluation"]["engine"] = {"kind": "vllm", "command": command, "deadline_seconds": 0.001}
    with pytest.raises(ValueError, match=r"single_hop, greedy: 5 of 5 questions ran out of time, more than .*\(0.01\)"):
        run(Study.model_validate(raw), inputs, tmp_path / "strict")
    assert not (tmp_path / "strict" / "eval").exists()
    raw["evaluation"]["engine"]["max_deadline_rate"] = 1.0
    out = run(Study.model_validate(raw), inputs, tmp_path)
    assert {record.stop for record in read_records(out / "two_hop.sampled.jsonl.gz")} == {StopReason.deadline}
    assert json.loads((out / "run.json").read_text())["parts"]["two_hop.sampled"]["deadlines"] == QUESTIONS


def test_rag_counts_its_search(study: Study, inputs: Path, tmp_path: Path):
    out = run(study, inputs, tmp_path, "rag")
    assert all(record.tags["scores"]["searches"] == [1.0] for record in read_records(out / "two_hop.greedy.jsonl.gz"))
