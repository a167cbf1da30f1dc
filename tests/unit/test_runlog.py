"""The self-describing record of a stage."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from mrsearch import hash_notes, runlog
from mrsearch.config import Study, digest
from mrsearch.evaluation import provenance


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "deep" / "weights").write_bytes(b"\0" * 100)
    questions = tmp_path / "train.parquet"
    questions.write_bytes(b"rows")
    return {"start": folder, "questions": questions}


def write(path: Path, study: Study, inputs: dict[str, Path], **extra) -> dict:
    runlog.write_run(path, study=study, stage="train", inputs=inputs, seeds=[1, 0], extra=extra)
    return json.loads(path.read_text())


def test_the_record_says_what_ran_on_what(tmp_path, small_study, inputs):
    record = write(tmp_path / "out" / "run.json", small_study, inputs, method="mr_search", seconds=1.5)
    assert Study.model_validate_json(json.dumps(record["config"])) == small_study
    assert record["config_digest"] == digest(small_study)
    assert (record["stage"], record["study"], record["seeds"], record["method"]) == (
        "train",
        "small",
        [0, 1],
        "mr_search",
    )
    assert record["inputs"]["questions"]["sha256"] == hashlib.sha256(b"rows").hexdigest()
    assert record["timing"].keys() == {"finished", "seconds"}
    assert record["packages"]["pydantic"].startswith("2.")
    assert record["hardware"]["cores"] >= record["hardware"]["usable_cores"] >= 1
    assert record["hardware"]["memory_gib"] > 0 and record["hardware"]["processor"]
    root = Path(runlog.__file__).parents[2]
    lock = root / "envs" / "cpu.lock.txt"
    assert record["code"]["locks"]["cpu.lock.txt"] == hashlib.sha256(lock.read_bytes()).hexdigest()
    assert list((tmp_path / "out").iterdir()) == [tmp_path / "out" / "run.json"], "nothing half-written stays"


def test_two_runs_differ_in_their_timing_alone(tmp_path, small_study, inputs):
    one, two = (write(tmp_path / name, small_study, inputs, seconds=n) for n, name in enumerate(("a", "b")))
    assert one.pop("timing") != two.pop("timing")
    assert one == two


def test_folder_hashes_follow_names_and_contents_but_not_run_records(inputs):
    folder = inputs["start"]
    before = runlog.hash_path(folder)
    (folder / "deep" / "run.json").write_text("times")
    assert runlog.hash_path(folder) == before
    (folder / "deep" / "weights").write_bytes(b"\0" * 99 + b"\1")
    changed = runlog.hash_path(folder)
    (folder / "deep" / "weights").rename(folder / "weights")
    assert len({before, changed, runlog.hash_path(folder)}) == 3


def test_a_model_is_hashed_once_while_it_stays_as_it_is(tmp_path, small_study, monkeypatch):
    model, read = tmp_path / "model", []
    model.mkdir()
    weights = model / "model.safetensors"
    weights.write_bytes(b"\0" * 100)
    monkeypatch.setattr(hash_notes, "SETTLED_NS", 0)
    runlog.write_run(
        tmp_path / "run.json",
        study=small_study,
        stage="train",
        inputs={},
        outputs={"model": model},
        seeds=[0],
        extra={},
    )
    expected = runlog.hash_path(model)
    assert json.loads((tmp_path / "run.json").read_text())["outputs"]["model"]["sha256"] == expected
    (model / ".snakemake_timestamp").touch()
    monkeypatch.setattr(runlog, "_hash_folder", lambda path: read.append(path) or "read again")
    assert (runlog.content_hash(model), read) == (expected, []), "the training noted it"
    weights.write_bytes(b"\1" * 100)
    os.utime(weights, (1, 1))
    assert runlog.content_hash(model) == "read again", "of the same size, and older than the record"
    assert len(read) == 1


def test_an_untrained_model_is_hashed_once_too(tmp_path, monkeypatch):
    model, read = tmp_path / "base", []
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"\0" * 100)
    expected = runlog.hash_path(model)
    monkeypatch.setattr(hash_notes, "SETTLED_NS", 0)
    monkeypatch.setattr(runlog, "_hash_folder", lambda path: read.append(path) or expected)
    assert [runlog.content_hash(model) for _ in range(3)] == [expected] * 3
    assert read == [model]


def test_tables_name_the_revision_that_the_record_holds(monkeypatch):
    monkeypatch.setattr(runlog, "_git", lambda: {"revision": "0123456789abcdef" * 2, "dirty": True})
    assert runlog.code_revision() == provenance.code_revision() == "0123456789ab+changes"
    monkeypatch.setattr(runlog, "_git", lambda: None)
    assert runlog.code_revision() == "unversioned"


def test_git_is_read_in_one_place():
    readers = [path.name for path in Path(runlog.__file__).parent.rglob("*.py") if "rev-parse" in path.read_text()]
    assert readers == ["runlog.py"]


def test_missing_inputs_and_taken_keys_leave_nothing_behind(tmp_path, small_study, inputs):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write(tmp_path / "run.json", small_study, {"start": tmp_path / "nowhere"})
    with pytest.raises(ValueError, match="extra key 'config' is taken"):
        write(tmp_path / "run.json", small_study, inputs, config={})
    assert not (tmp_path / "run.json").exists()
