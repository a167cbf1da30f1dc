"""The evaluator on a real, untrained tiny model over the synthetic world."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.commands import mrsearch
from support.evaluations import contents, evaluated_study, make_inputs, run_evaluation

from mrsearch import runlog
from mrsearch.agent.record_files import read_records
from mrsearch.agent.records import StopReason
from mrsearch.config import Study, write_study
from mrsearch.config.generator import Generator
from mrsearch.data.subsets import hashed_id
from mrsearch.evaluation import method_run
from mrsearch.policy import serving

pytestmark = pytest.mark.slow

QUESTIONS = 5


@pytest.fixture(scope="module")
def study() -> Study:
    return evaluated_study(QUESTIONS)


@pytest.fixture(scope="module")
def inputs(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_inputs(study, tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def finished(study: Study, inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_evaluation(study, inputs, tmp_path_factory.mktemp("finished"))


def test_records_are_complete(study: Study, finished: Path):
    assert set(contents(finished)) == {
        f"{benchmark}.{decoding}.jsonl.zst" for benchmark in study.benchmarks for decoding in study.evaluation.decoding
    }
    for benchmark in study.benchmarks:
        records = list(read_records(finished / f"{benchmark}.greedy.jsonl.zst"))
        ids = [record.question.id for record in records]
        assert len(set(ids)) == len(ids) == QUESTIONS and ids == sorted(ids, key=hashed_id)
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
    assert run_json["timing"]["parts"]["two_hop.sampled"] > 0
    first = next(iter(read_records(finished / "two_hop.sampled.jsonl.zst")))
    assert not [name for name in first.tags if "second" in name or "time" in name]


def test_an_evaluation_describes_itself_as_a_training_does(study: Study, inputs: Path, finished: Path, tmp_path: Path):
    """Settings, code, hashes of all it read, packages, hardware, seeds and times, in the one format of run.json."""
    record = json.loads((finished / "run.json").read_text())
    runlog.write_run(tmp_path / "run.json", study=study, stage="train", inputs={}, seeds=[0], extra={})
    own = {"model", "method", "settings", "parts", "warnings"}
    assert record.keys() - json.loads((tmp_path / "run.json").read_text()).keys() == own
    assert Study.model_validate(record["config"]) == study
    assert (record["stage"], record["seeds"], record["method"]) == ("evaluate", [0], "sequential")
    hashes = {name: runlog.hash_path(Path(read["path"])) for name, read in record["inputs"].items()}
    assert hashes == {name: read["sha256"] for name, read in record["inputs"].items()}
    benchmarks = {f"questions/{benchmark}" for benchmark in study.benchmarks}
    assert hashes.keys() == {"policy", "corpus", "index/dense", *benchmarks}
    again = json.loads((run_evaluation(study, inputs, tmp_path / "again") / "run.json").read_text())
    assert record.pop("timing") != again.pop("timing") and record == again, "all but times is the same again"


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(
    study: Study, inputs: Path, finished: Path, tmp_path: Path
):
    assert contents(run_evaluation(study, inputs, tmp_path / "again")) == contents(finished)
    other = contents(run_evaluation(study, inputs, tmp_path / "other", seed=1))
    assert other["single_hop.sampled.jsonl.zst"] != contents(finished)["single_hop.sampled.jsonl.zst"]


def test_a_cache_of_other_inputs_is_not_used(study: Study, inputs: Path, finished: Path, tmp_path: Path):
    stale = tmp_path / "cache" / "0123456789abcdef" / "single_hop.greedy.jsonl.zst"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"of another policy")
    assert contents(run_evaluation(study, inputs, tmp_path)) == contents(finished)


def test_record_files_that_a_crash_damaged_are_made_again(
    study: Study, inputs: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A machine that dies between the last record and run.json may leave files of any length under their names."""

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(method_run, "write_run", dies)
        with pytest.raises(KeyboardInterrupt):
            run_evaluation(study, inputs, tmp_path)
    (cache,) = (tmp_path / "cache").iterdir()
    shutil.rmtree(tmp_path / "eval")
    os.truncate(cache / "single_hop.greedy.jsonl.zst", 0)
    os.truncate(cache / "single_hop.sampled.jsonl.zst", 200)
    os.truncate(cache / "two_hop.greedy.cost.json", 3)
    kept = (cache / "two_hop.sampled.jsonl.zst").stat().st_ino
    assert contents(run_evaluation(study, inputs, tmp_path)) == contents(finished)
    assert (tmp_path / "eval" / "two_hop.sampled.jsonl.zst").stat().st_ino == kept, "a whole one is not made again"


def test_failing_searches_abort(study: Study, inputs: Path, tmp_path: Path):
    """A server that does not exist: every search fails for good."""
    raw = study.model_dump()
    raw["retrieval"]["service"]["mode"] = "http"
    (tmp_path / "endpoint.json").write_text(json.dumps({"url": "http://127.0.0.1:9", "boot": "none"}))
    with pytest.raises(ValueError, match=r"single_hop, greedy: 5 of 5 searches failed, more than .*max_failure_rate"):
        run_evaluation(Study.model_validate(raw), inputs, tmp_path, "rag", endpoint=tmp_path / "endpoint.json")
    assert not (tmp_path / "eval").exists()


def test_tolerated_failures_are_recorded(study: Study, inputs: Path, tmp_path: Path):
    raw = study.model_dump()
    raw["retrieval"]["service"]["mode"] = "http"
    raw["retrieval"]["client"]["max_failure_rate"] = 1.0
    (tmp_path / "endpoint.json").write_text(json.dumps({"url": "http://127.0.0.1:9", "boot": "none"}))
    out = run_evaluation(Study.model_validate(raw), inputs, tmp_path, "rag", endpoint=tmp_path / "endpoint.json")
    records = list(read_records(out / "single_hop.greedy.jsonl.zst"))
    assert [record.stop for record in records] == [StopReason.search_failed] * QUESTIONS
    assert json.loads((out / "run.json").read_text())["parts"]["single_hop.greedy"]["search_failures"] == QUESTIONS


def test_rag_counts_its_search(study: Study, inputs: Path, tmp_path: Path):
    out = run_evaluation(study, inputs, tmp_path, "rag")
    assert all(record.tags["scores"]["searches"] == [1.0] for record in read_records(out / "two_hop.greedy.jsonl.zst"))


def evaluate_together(study: Study, inputs: Path, out: Path) -> None:
    """Two methods of the untrained model, by the command; the folders of a method bear its name."""
    write_study(study, out / "study.json")
    names = {"study": out / "study.json", "model": "tiny", "seed": 0, "policy": inputs / "model"}
    files = {"questions": inputs / "data", "corpus": inputs / "corpus", "indexes": inputs / "index"}
    options = [f"--{name}={value}" for name, value in {**names, **files}.items()]
    for method in ("sequential", "search_r1"):
        options += [f"--method={method}", f"--out={out / method / 'eval'}", f"--cache={out / method / 'cache'}"]
    done = mrsearch("evaluate", *options, cwd=out)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders whose policy was opened."""
    folders: list[Path] = []

    def opened(generator: Generator, folder: Path, *arguments: Any, **settings: Any) -> Any:
        folders.append(folder)
        return open_policy(generator, folder, *arguments, **settings)

    open_policy = serving.open_policy
    monkeypatch.setattr(serving, "open_policy", opened)
    return folders


def test_methods_over_one_policy_are_what_they_are_alone(
    study: Study, inputs: Path, finished: Path, tmp_path: Path, starts: list[Path], monkeypatch: pytest.MonkeyPatch
):
    """Interrupted after the first of two methods, gone on with, then asked for with other settings of the second."""

    def fails(run: method_run.MethodRun, policy: Any) -> None:
        if run.method == "search_r1":
            raise ValueError("away")
        answer(run, policy)

    answer = method_run.MethodRun.answer
    with monkeypatch.context() as patched:
        patched.setattr(method_run.MethodRun, "answer", fails)
        with pytest.raises(AssertionError, match="away"):
            evaluate_together(study, inputs, tmp_path)
    first, second = tmp_path / "sequential", tmp_path / "search_r1"
    assert not (first / "eval").exists(), "nothing is published before all is finished"
    (answered,) = (first / "cache").glob("*/two_hop.sampled.jsonl.zst")
    inode = answered.stat().st_ino
    evaluate_together(study, inputs, tmp_path)
    assert starts == [inputs / "model"] * 2
    assert contents(first / "eval") == contents(finished)
    assert (first / "eval" / answered.name).stat().st_ino == inode, "not answered twice"
    assert contents(second / "eval") == contents(run_evaluation(study, inputs, tmp_path / "alone", "search_r1"))
    assert not (first / "cache").exists() and not (second / "cache").exists()
    timing = json.loads((second / "eval" / "run.json").read_text())["timing"]
    assert timing["job"]["methods"] == ["sequential", "search_r1"]
    assert timing["seconds"] > timing["job"]["policy_start_seconds"] > 0
    methods = {**study.model_dump()["methods"], "search_r1": {"policy": "base", "max_turns": 1}}
    before, run = contents(second / "eval"), (first / "eval" / "run.json").read_bytes()
    evaluate_together(Study.model_validate({**study.model_dump(), "methods": methods}), inputs, tmp_path)
    assert contents(second / "eval") != before
    assert (first / "eval" / answered.name).stat().st_ino == inode and (first / "eval" / "run.json").read_bytes() == run
