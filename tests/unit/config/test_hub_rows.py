"""Rows of the hub that a study declares are exact, or refused with key, value and remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mrsearch.config import ConfigError, Run, Study, digest, load_study, read_study, stages, write_study
from mrsearch.config.hub_rows import PassageFields, QuestionFields

QUIZ: dict[str, Any] = {
    "kind": "questions",
    "repository": "me/quiz",
    "revision": "1" * 40,
    "files": [{"path": "data/test.parquet"}],
    "split": "test",
}
BOOK = {"kind": "corpus", "repository": "me/book", "revision": "1" * 40, "files": [{"path": "b.jsonl.gz"}]}


def load(root: Path, rows: dict[str, Any], **data: Any) -> Study:
    values = {"kind": "hub", "rows": rows, **data}
    return load_study(Run(study="paper", overrides={"data": values, "benchmarks": {"quiz": {}}}), root)


def test_a_declared_corpus_has_no_prebuilt_index_also_when_it_is_read_back(root: Path, tmp_path: Path) -> None:
    study = load(root, {"quiz": QUIZ, "book": BOOK}, corpus="book")
    assert study.data.kind == "hub" and study.data.prebuilt_index is None
    write_study(study, tmp_path / "study.json")
    assert digest(read_study(tmp_path / "study.json")) == digest(study)
    other = load(root, {"quiz": QUIZ})
    assert other.data.kind == "hub" and other.data.prebuilt_index == "wiki-18-e5"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"revision": "main"}, "'main' is not a full commit"),
        ({"revision": None}, "rows.quiz.questions.revision: "),
        ({"repository": "../x"}, "is not a repository"),
        ({"files": []}, "rows.quiz.questions.files: "),
        ({"files": ["a.jsonl"]}, "rows.quiz.questions.files.0: "),
        ({"files": [{"path": "../a.jsonl"}]}, "not a path inside a repository"),
        ({"files": [{"path": "/etc/a.jsonl"}]}, "not a path inside a repository"),
        ({"files": [{"path": "a.jsonl", "sha256": "xyz"}]}, "is not a sha256"),
        ({"files": [{"path": "a.jsonl"}, {"path": "a.jsonl"}]}, "'a.jsonl' stands there 2 times"),
        ({"files": [{"path": "a.txt"}]}, "files (a.txt): how the names end does not say one format: set format to one"),
        ({"files": [{"path": "a.csv"}, {"path": "b.json"}]}, "files (a.csv, b.json): how the names end"),
        ({"format": "xml"}, "rows.quiz.questions.format: "),
        ({"split": "validation"}, "rows.quiz.questions.split: "),
        ({"rows": 0}, "rows.quiz.questions.rows: "),
        ({"fields": {"query": "q"}}, "rows.quiz.questions.fields.query: unknown key"),
        ({"fields": {"question": "id"}}, "'id' stands there 2 times: each needs a name of its own"),
        ({"fields": {"golden_answers": []}}, "golden_answers is empty: name the field"),
        ({"fields": {"golden_answers": ["a", "a"]}}, "'a' stands there 2 times"),
        ({"kind": "model"}, "rows.quiz: "),
        ({"url": "http://x"}, "rows.quiz.questions.url: unknown key"),
    ],
)
def test_a_row_that_is_not_exact_is_refused_with_its_key(root: Path, change: dict[str, Any], message: str) -> None:
    load(root, {"quiz": QUIZ})
    with pytest.raises(ConfigError) as error:
        load(root, {"quiz": {**QUIZ, **change}})
    assert message in str(error.value) and "data.hub" in str(error.value)


def test_a_split_is_never_left_to_chance(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"rows.quiz.questions.split: Field required"):
        load(root, {"quiz": {key: value for key, value in QUIZ.items() if key != "split"}})


@pytest.mark.parametrize(
    ("rows", "data", "message"),
    [
        ({"quiz": QUIZ, "book": BOOK}, {"corpus": "book", "prebuilt_index": "wiki-18-e5"}, "vectors of another corpus"),
        ({"validation": QUIZ}, {"validation_share": 0.5}, "rows.validation has the name"),
        ({"a/b": QUIZ}, {}, "not a usable name"),
    ],
)
def test_rows_fit_the_study(root: Path, rows: dict[str, Any], data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(root, rows, **data)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"contents": None}, "name one of them"),
        ({"contents": "c", "text": "t"}, "name one of them"),
        ({"title": "t"}, "goes with text"),
        ({"id": "x", "text": "x"}, "'x' stands there 2 times"),
    ],
)
def test_the_fields_of_passages_say_where_the_text_is(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PassageFields.model_validate(fields)


def test_fields_are_what_was_written() -> None:
    assert PassageFields.model_validate({"text": "body"}).contents is None
    assert PassageFields.model_validate(PassageFields(text="body").model_dump()) == PassageFields(text="body")
    assert QuestionFields(golden_answers="a").gold_fields == ("a",)
    assert QuestionFields(golden_answers=("a", "b")).gold_fields == ("a", "b")


def test_a_declared_row_changes_the_digests_of_what_is_read_from_it(root: Path) -> None:
    train = QUIZ | {"split": "train"}

    def digests(**rows: Any) -> dict[str, str]:
        given = {"quiz": QUIZ, "book": BOOK, "quiz_train": train} | rows
        study = load(root, given, corpus="book", train="quiz_train")
        questions = {name: stages.questions(study, name) for name in ("quiz", "train")}
        return {**questions, "corpus": stages.corpus(study), "base": stages.base_model(study, "qwen2.5-3b")}

    before = digests()
    for name, row, changed in (
        ("quiz", QUIZ, {"quiz"}),
        ("quiz_train", train, {"train"}),
        ("book", BOOK, {"corpus"}),
        ("another", QUIZ, set()),
    ):
        after = digests(**{name: {**row, "revision": "2" * 40}})
        assert {key for key in before if before[key] != after[key]} == changed
