"""A trained model brings its protocol into another study, and what differs from it is told."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.commands import mrsearch

from mrsearch.config import ConfigError, Run, Study, digest, load_study, read_study, write_study
from mrsearch.config.protocol import Protocol

TRAINED = {
    "prompts": {"search": "ask {question}", "reflection": "again"},
    "max_turns": 5,
    "max_turn_tokens": 33,
    "answer": "last",
    "append_question_mark": False,
}


def train(folder: Path, protocol: Any, **record: Any) -> str:
    """What a training leaves behind, without weights; returns the model's folder."""
    (folder / "model").mkdir(parents=True)
    if isinstance(protocol, Protocol):
        protocol = protocol.model_dump(mode="json")
    run = {"stage": "train", "config": {"protocol": protocol}, "outputs": {"model": {"path": "model"}}} | record
    (folder / "run.json").write_text(json.dumps(run))
    return str(folder / "model")


def write(path: Path, models: dict[str, str], protocol: dict[str, Any] | None = None) -> Path:
    study = {
        "name": "other",
        "data": {"kind": "world"},
        "retrieval": {"use": "bow", "retrievers": {"bow": {"kind": "dense", "encoder": {"kind": "bow"}}}},
        "models": {name: {"kind": "folder", "path": folder} for name, folder in models.items()},
        "methods": {"agent": {"episodes": 2}},
        "benchmarks": {"two_hop": {}},
        "report": {"baseline": "agent"},
    }
    path.write_text(yaml.safe_dump(study | ({} if protocol is None else {"protocol": protocol})))
    return path


def load(path: Path, **overrides: Any) -> Study:
    return load_study(Run(study=str(path), overrides=overrides))


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return train(tmp_path / "seed0", Protocol.model_validate(TRAINED))


def test_a_trained_model_brings_its_protocol(folder: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "study.yaml", {"mine": folder})
    with caplog.at_level(logging.WARNING):
        study = load(path)
    assert study.protocol == Protocol.model_validate(TRAINED)
    assert read_study(path).protocol == study.protocol
    assert caplog.records == [], "nothing differs"


@pytest.mark.parametrize("protocol", [{}, None])
def test_a_protocol_of_nothing_says_nothing(folder: str, tmp_path: Path, protocol: Any) -> None:
    assert load(write(tmp_path / "study.yaml", {"mine": folder}, protocol)).protocol.max_turns == 5


def test_what_the_study_says_counts_key_by_key_and_is_told(
    folder: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "study.yaml", {"mine": folder}, {"max_turns": 2, "prompts": {"reflection": "more"}})
    with caplog.at_level(logging.WARNING):
        protocol = load(path, **{"protocol.max_turn_tokens": 44}).protocol
    assert (protocol.max_turns, protocol.max_turn_tokens, protocol.answer) == (2, 44, "last")
    assert (protocol.prompts.search, protocol.prompts.reflection) == ("ask {question}", "more")
    (record,) = caplog.records
    keys = "protocol.max_turn_tokens, protocol.max_turns, protocol.prompts differ"
    assert keys in record.message and "models.mine.path" in record.message and "run.json" in record.message


@pytest.mark.parametrize("preset", ["own", "r1_searcher"])
def test_a_preset_says_it_all(folder: str, tmp_path: Path, preset: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        study = load(write(tmp_path / "study.yaml", {"mine": folder}, {"preset": preset}))
    assert study.protocol == Protocol.model_validate({"preset": preset})
    assert "protocol.max_turns" in caplog.text and "protocol.prompts" in caplog.text
    assert "protocol.chat_template" not in caplog.text, "it is the same, though one of the two leaves it out"


@pytest.mark.parametrize("protocol", [None, {"preset": "own"}, {"answer": "last_valid", "max_turns": 2}])
def test_a_resolved_study_reads_back_as_it_was(folder: str, tmp_path: Path, protocol: Any) -> None:
    """Keys that a resolved protocol leaves out are at their defaults, and not for the model to fill in."""
    study = load(write(tmp_path / "study.yaml", {"mine": folder}, protocol))
    write_study(study, tmp_path / "study.json")
    assert digest(read_study(tmp_path / "study.json")) == digest(study)
    printed = tmp_path / "printed.json"
    printed.write_text(mrsearch("study", str(tmp_path / "study.yaml"), cwd=tmp_path).stdout)
    assert digest(load(printed)) == digest(study)


def test_a_published_format_is_brought_with_its_texts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    texts = {"search": "Q {question}", "invalid_action": "no", "reflection": "again"}
    trained = Protocol.model_validate(
        {"preset": "mr_search", "prompts": texts, "wording": {"prompts": "/etc/passwd.parquet"}, "max_turns": 7}
    )
    protocol = load(write(tmp_path / "study.yaml", {"mine": train(tmp_path / "seed0", trained)})).protocol
    assert protocol == trained.model_copy(update={"wording": None}), "no file is read that the study does not name"
    assert caplog.records == []


def test_models_of_one_protocol_and_models_without_a_record_go_together(folder: str, tmp_path: Path) -> None:
    twin = train(tmp_path / "seed1", Protocol.model_validate(TRAINED))
    (tmp_path / "published").mkdir()
    models = {"first": folder, "second": twin, "published": str(tmp_path / "published")}
    assert load(write(tmp_path / "study.yaml", models)).protocol.max_turns == 5


def test_models_of_different_protocols_need_a_word_from_the_study(folder: str, tmp_path: Path) -> None:
    other = train(tmp_path / "seed1", Protocol.model_validate({**TRAINED, "max_turns": 6}))
    models = {"first": folder, "second": other}
    message = (
        r"models.first and models.second were trained under different protocols \(protocol.max_turns\): give these"
    )
    with pytest.raises(ConfigError, match=message) as error:
        load(write(tmp_path / "study.yaml", models))
    assert "study.yaml" in str(error.value)
    assert load(write(tmp_path / "study.yaml", models, {"max_turns": 6})).protocol.max_turn_tokens == 33
    assert load(write(tmp_path / "study.yaml", models, {"preset": "own"})).protocol == Protocol()


@pytest.mark.parametrize(
    "protocol",
    [
        {"max_turns": 0},
        {"a_key_of_another_version": 1},
        {"prompts": {"search": "no field"}},
        {"max_turns": {"a": 1}},
        {"preset": ["own"]},
    ],
)
def test_a_protocol_that_cannot_be_used_is_refused_with_the_way_out(tmp_path: Path, protocol: Any) -> None:
    folder = train(tmp_path / "seed0", protocol)
    with pytest.raises(ConfigError, match=r"models.mine.path: the protocol in .*run.json cannot be used .*preset"):
        load(write(tmp_path / "study.yaml", {"mine": folder}))
    assert load(write(tmp_path / "study.yaml", {"mine": folder}, {"preset": "own"})).protocol == Protocol()


@pytest.mark.parametrize(
    "record",
    [
        {"stage": "evaluate"},
        {"outputs": {"model": {"path": "elsewhere"}}},
        {"outputs": ["model"]},
        {"config": None},
        {"config": {"protocol": ["max_turns"]}},
    ],
)
def test_a_record_of_something_else_brings_nothing(tmp_path: Path, record: dict[str, Any]) -> None:
    folder = train(tmp_path / "seed0", Protocol.model_validate(TRAINED), **record)
    assert load(write(tmp_path / "study.yaml", {"mine": folder})).protocol == Protocol()


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "null", "\udcff", '{"stage": 3, "outputs": 7}'])
def test_a_file_that_is_no_record_brings_nothing(folder: str, tmp_path: Path, text: str) -> None:
    (tmp_path / "seed0" / "run.json").write_bytes(text.encode(errors="surrogateescape"))
    assert load(write(tmp_path / "study.yaml", {"mine": folder})).protocol == Protocol()


@pytest.mark.parametrize("path", ["", "\0", "no/such", "x" * 5000, 3, None, ["a"]])
def test_an_odd_path_is_left_to_those_who_read_it(tmp_path: Path, path: Any) -> None:
    study = write(tmp_path / "study.yaml", {"mine": path})
    if isinstance(path, str):
        assert load(study).protocol == Protocol()
    else:
        with pytest.raises(ConfigError, match=r"models.mine.folder.path: "):
            load(study)


@pytest.mark.parametrize("protocol", [3, "own", ["max_turns"]])
def test_a_protocol_of_another_type_is_refused_as_ever(folder: str, tmp_path: Path, protocol: Any) -> None:
    with pytest.raises(ConfigError, match="protocol: "):
        load(write(tmp_path / "study.yaml", {"mine": folder}, protocol))
