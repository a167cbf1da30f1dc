"""Rows that a study declares: questions and passages of any repository, without an edit of the package."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as parquet
import pytest
import yaml
from support.commands import mrsearch

from mrsearch.config import Run, Study, load_study, write_study
from mrsearch.config.layout import Layout
from mrsearch.data.declared import value_at
from mrsearch.data.download import download
from mrsearch.data.hub import hub_questions
from mrsearch.data.questions import read_passages, write_questions
from mrsearch.data.registry import downloads_of, questions_row, row, study_row

COMMIT = "1" * 40
ROW: dict[str, Any] = {"id": "a", "question": "who", "golden_answers": ["x", "y"]}
QUIZ: dict[str, Any] = {
    "kind": "questions",
    "repository": "me/quiz",
    "revision": COMMIT,
    "files": [{"path": "test.jsonl"}],
    "split": "test",
}
BOOK: dict[str, Any] = {"kind": "corpus", "repository": "me/book", "revision": COMMIT, "files": [{"path": "b.jsonl"}]}
TRAIN = QUIZ | {"split": "train", "files": [{"path": "train.jsonl"}]}


def study(root: Path, quiz: dict[str, Any] | None = None, **overrides: Any) -> Study:
    rows = {"quiz": quiz or QUIZ, "book": BOOK, "quiz_train": TRAIN}
    data = {"kind": "hub", "corpus": "book", "train": "quiz_train", "rows": rows}
    return load_study(Run(study="paper", overrides={"data": data, "benchmarks": {"quiz": {}}, **overrides}), root)


def put(downloads: Path, entry: Any, content: bytes, number: int = 0) -> Path:
    path: Path = downloads / entry.folder / entry.files[number].path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in rows)


def asked(root: Path, downloads: Path, content: bytes, **declared: Any) -> list[dict[str, Any]]:
    """The questions of a benchmark that is declared so."""
    own = study(root, QUIZ | declared)
    put(downloads, questions_row(own, "quiz"), content)
    return hub_questions(own, "quiz", downloads)


def test_a_declared_benchmark_is_downloaded_prepared_and_read_like_the_registrys(root: Path, tmp_path: Path) -> None:
    (tmp_path / "mirror" / "me" / "quiz").mkdir(parents=True)
    content = lines(ROW, {**ROW, "id": 7})
    (tmp_path / "mirror" / "me" / "quiz" / "test.jsonl").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    own = study(root, QUIZ | {"files": [{"path": "test.jsonl", "bytes": len(content), "sha256": sha256}], "rows": 2})
    entry = study_row(own, "quiz", "questions")
    download(entry, tmp_path / "downloads" / entry.folder, mirror=str(tmp_path / "mirror"))
    write_questions(own, "quiz", tmp_path / "quiz.parquet", tmp_path / "downloads")
    assert [line["id"] for line in parquet.read_table(tmp_path / "quiz.parquet").to_pylist()] == ["a", "7"]
    assert COMMIT[:12] in entry.folder


def test_a_download_that_is_not_what_the_study_says_never_appears(root: Path, tmp_path: Path) -> None:
    (tmp_path / "mirror" / "me" / "quiz").mkdir(parents=True)
    (tmp_path / "mirror" / "me" / "quiz" / "test.jsonl").write_bytes(lines(ROW))
    entry = study_row(study(root, QUIZ | {"files": [{"path": "test.jsonl", "sha256": "0" * 64}]}), "quiz", "questions")
    with pytest.raises(ValueError, match=r"test.jsonl is not the registered file: its checksum is"):
        download(entry, tmp_path / entry.folder, mirror=str(tmp_path / "mirror"))
    assert not (tmp_path / entry.folder).exists()


@pytest.mark.parametrize(("key", "value"), [("sha256", "0" * 64), ("bytes", 3)])
def test_files_that_came_for_another_study_are_checked_too(root: Path, tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"test.jsonl: .*data.rows.quiz says {value}"):
        asked(root, tmp_path, lines(ROW), files=[{"path": "test.jsonl", key: value}])


def test_every_declared_row_that_the_study_reads_is_a_download(root: Path) -> None:
    names = {entry.name for entry in downloads_of(study(root))}
    assert {"quiz", "quiz_train", "book"} <= names
    assert names.isdisjoint({"wiki-18", "wiki-18-e5", "nq_hotpotqa"})


def test_fields_are_read_by_their_names(root: Path, tmp_path: Path) -> None:
    content = lines({"n": 3, "q": {"text": "who"}, "a": [{"s": "x"}, {"s": ["y", "x"]}], "more": None})
    fields = {"id": "n", "question": "q.text", "golden_answers": ["a.s", "more"]}
    assert asked(root, tmp_path, content, fields=fields) == [
        {"id": "3", "question": "who", "golden_answers": ["x", "y"]}
    ]


def test_one_text_is_one_answer_and_rows_without_ids_are_numbered(root: Path, tmp_path: Path) -> None:
    content = lines({"question": "who", "answer": "x, y"}, {"question": "when", "answer": 1918})
    rows = asked(root, tmp_path, content, fields={"id": None, "golden_answers": "answer"})
    assert rows == [
        {"id": "test_0", "question": "who", "golden_answers": ["x, y"]},
        {"id": "test_1", "question": "when", "golden_answers": ["1918"]},
    ]


def test_a_field_whose_name_has_a_dot_is_found_first() -> None:
    assert value_at({"a.b": 1, "a": {"b": 2}}, "a.b", "row 1") == 1
    assert value_at({"a": {"b": {"c": 2}}}, "a.b.c", "row 1") == 2


SAME = {
    "jsonl": lines(ROW),
    "jsonl.gz": gzip.compress(lines(ROW)),
    "json": json.dumps([ROW], indent=1).encode(),
    "csv": b'\xef\xbb\xbfid,question,golden_answers\r\na,"who",x\r\n\r\n',
    "tsv": b"id\tquestion\tgolden_answers\na\twho\tx\n",
}


@pytest.mark.parametrize("ending", SAME)
def test_every_format_is_read_by_the_files_ending(root: Path, tmp_path: Path, ending: str) -> None:
    (question,) = asked(root, tmp_path, SAME[ending], files=[{"path": f"data/test.{ending}"}])
    assert (question["id"], question["question"], question["golden_answers"][0]) == ("a", "who", "x")


@pytest.mark.parametrize("format", ["jsonl", "json", "csv", "tsv"])
def test_a_format_that_is_named_counts_whatever_the_ending(root: Path, tmp_path: Path, format: str) -> None:
    (question,) = asked(root, tmp_path, SAME[format], files=[{"path": "data/test.txt"}], format=format)
    assert question["id"] == "a"


def test_parquet_is_read_in_its_order_and_its_other_columns_are_not(root: Path, tmp_path: Path) -> None:
    own = study(root, QUIZ | {"files": [{"path": "1.parquet"}, {"path": "2.parquet"}]})
    entry = questions_row(own, "quiz")
    for number, names in enumerate((["b", "a"], ["c"])):
        path = put(tmp_path, entry, b"", number)
        parquet.write_table(pyarrow.Table.from_pylist([{**ROW, "id": name, "other": b"\xff"} for name in names]), path)
    assert [question["id"] for question in hub_questions(own, "quiz", tmp_path)] == ["b", "a", "c"]


ODD: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "a missing field": (lines(ROW, {"id": "b", "question": "q"}), {}, r"line 2: the field 'golden_answers' is missing"),
    "a missing step": (
        lines({**ROW, "golden_answers": {"texts": []}}),
        {"fields": {"golden_answers": "golden_answers.text"}},
        r"line 1: the field 'golden_answers.text' is missing; at 'text' there is texts",
    ),
    "a field twice": (b'{"id": "a", "id": "b"}', {}, r"line 1: the key 'id' stands there 2 times"),
    "an id twice": (lines(ROW, ROW), {}, r"data.rows.quiz: 1 ids .*'a' among them \(row 1 and row 2\)"),
    "ids that look alike": (lines({**ROW, "id": 1}, {**ROW, "id": "1"}), {}, r"'1' among them"),
    "a null id": (lines({**ROW, "id": None}), {}, r"line 1: id \(None\) must be text or an integer; fields.id: null"),
    "a true id": (lines({**ROW, "id": True}), {}, r"line 1: id \(True\) must be text"),
    "an empty id": (lines({**ROW, "id": ""}), {}, r"line 1: id \(''\) must be text"),
    "no text": (lines({**ROW, "question": ["q"]}), {}, r"line 1: question \(\['q'\]\) must be text, not list"),
    "nothing to see": (lines({**ROW, "question": "\u200b"}), {}, r"line 1: nothing can be seen of question"),
    "no answer": (
        lines({**ROW, "golden_answers": []}),
        {},
        r"line 1: golden_answers is empty.*\(fields.golden_answers",
    ),
    "a null answer": (lines({**ROW, "golden_answers": None}), {}, r"line 1: golden_answers holds None"),
    "an odd answer": (lines({**ROW, "golden_answers": [{"a": 1}]}), {}, r"line 1: golden_answers holds \{'a': 1\}"),
    "all answers empty": (
        lines({**ROW, "more": None, "golden_answers": []}),
        {"fields": {"golden_answers": ["golden_answers", "more"]}},
        r"line 1: golden_answers is empty",
    ),
    "no object": (b"[1]\n", {}, r"line 1: holds list, not an object"),
    "no json": (b"{\n", {}, r"line 1: not JSON"),
    "nothing": (b"\n\n", {}, r"test.jsonl: holds no row"),
    "a cut gzip": (gzip.compress(lines(ROW) * 500)[:60], {}, r"test.jsonl: is damaged or cut off"),
    "another number": (lines(ROW), {"rows": 2}, r"data.rows.quiz: 1 rows, its rows say 2"),
    "no list": (b"{}", {"format": "json"}, r"test.jsonl: holds dict, not a list of objects"),
    "no parquet": (lines(ROW), {"format": "parquet"}, r"test.jsonl: cannot be read as parquet"),
    "a column twice": (b"id,id\na,b\n", {"format": "csv"}, r"2 columns are named 'id'"),
    "a cell too many": (
        b"id,question,golden_answers\na,who, when,x\n",
        {"format": "csv"},
        r"line 2: 4 cells under a header of 3: quote",
    ),
    "an open quote": (b'id,question,golden_answers\na,"who,x\n', {"format": "csv"}, r"line 3?2?: cannot be read"),
    "no utf-8": (b"id,question,golden_answers\n\xff,b,c\n", {"format": "csv"}, r"is no text in UTF-8"),
}


@pytest.mark.parametrize("case", ODD)
def test_what_cannot_be_used_is_named_with_its_row(root: Path, tmp_path: Path, case: str) -> None:
    content, declared, message = ODD[case]
    with pytest.raises(ValueError, match=message):
        asked(root, tmp_path, content, **declared)


def test_a_missing_or_doubled_column_of_parquet_is_named_with_those_there_are(root: Path, tmp_path: Path) -> None:
    own = study(root, QUIZ | {"files": [{"path": "t.parquet"}], "fields": {"question": "query.text"}})
    path = put(tmp_path, questions_row(own, "quiz"), b"")
    parquet.write_table(pyarrow.Table.from_pylist([ROW]), path)
    message = r"t.parquet: no column holds the field 'query.text'; there are id, question, golden_answers"
    with pytest.raises(ValueError, match=message):
        hub_questions(own, "quiz", tmp_path)
    parquet.write_table(pyarrow.table([["a"], ["b"], ["c"]], names=["id", "id", "question"]), path)
    with pytest.raises(ValueError, match="2 columns are named 'id'"):
        hub_questions(own, "quiz", tmp_path)


BOOKS: dict[str, tuple[bytes, dict[str, Any]]] = {
    "contents": (lines({"id": 1, "contents": "T\ntext"}), {}),
    "title and text": (lines({"id": "1", "title": "T", "text": "text"}), {}),
    "other names": (
        lines({"pid": "1", "meta": {"name": " T "}, "body": "text\n"}),
        {"fields": {"id": "pid", "title": "meta.name", "text": "body"}},
    ),
    "csv": (b"id,title,text\n1,T,text\n", {"format": "csv", "fields": {"title": "title", "text": "text"}}),
}


@pytest.mark.parametrize("case", BOOKS)
def test_a_declared_corpus_is_read_by_the_names_of_its_fields(root: Path, tmp_path: Path, case: str) -> None:
    content, declared = BOOKS[case]
    own = study(root, **{"data.rows.book": BOOK | declared})
    put(tmp_path, study_row(own, "book", "corpus"), content)
    assert list(read_passages(own, tmp_path)) == [("1", "T", "text")]


def test_passages_without_ids_or_titles_are_numbered_and_untitled(root: Path, tmp_path: Path) -> None:
    own = study(root, **{"data.rows.book": BOOK | {"fields": {"id": None, "text": "body"}, "rows": 2}})
    entry = study_row(own, "book", "corpus")
    put(tmp_path, entry, lines({"body": "x"}, {"body": "y"}))
    assert list(read_passages(own, tmp_path)) == [("0", "", "x"), ("1", "", "y")]
    put(tmp_path, entry, lines({"body": "x"}))
    with pytest.raises(ValueError, match=r"data.rows.book: 1 passages, its rows say 2"):
        list(read_passages(own, tmp_path))
    put(tmp_path, entry, lines({"body": "x"}, {"text": "y"}))
    with pytest.raises(ValueError, match=r"b.jsonl, line 2: the field 'body' is missing; at 'body' there is text"):
        list(read_passages(own, tmp_path))


def test_training_and_testing_are_kept_apart_in_declared_rows_too(root: Path) -> None:
    with pytest.raises(ValueError, match=r"data.train \(quiz\) is a test split"):
        questions_row(study(root, **{"data.train": "quiz"}), "train")
    with pytest.raises(ValueError, match=r"benchmarks.quiz \(quiz_train\) is a train split"):
        questions_row(study(root, **{"benchmarks.quiz.source": "quiz_train"}), "quiz")


def test_a_name_is_a_declared_row_of_its_kind_or_one_of_the_registry(root: Path) -> None:
    own = study(root, **{"benchmarks": {"nq": {}, "other": {"source": "quiz"}}})
    assert questions_row(own, "nq") == row("nq")
    assert questions_row(own, "other").name == "quiz"
    for name, kind in (("book", "questions"), ("quiz", "corpus"), ("nothing", "corpus")):
        with pytest.raises(ValueError, match=rf"'{name}' is no {kind} of the registry: .*; data.rows declares "):
            study_row(own, name, kind)
    with pytest.raises(ValueError, match=r"data.rows.nq has the name of a row of the registry: choose another name"):
        downloads_of(study(root, **{"data.rows.nq": QUIZ}))


def test_a_missing_download_is_named_with_the_command_that_brings_it(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is missing: run `mrsearch data download --row quiz --study STUDY`"):
        hub_questions(study(root), "quiz", tmp_path)


def test_two_studies_that_declare_other_passages_under_one_name_keep_them_apart(root: Path) -> None:
    first, other = study(root), study(root, **{"data.rows.book.revision": "2" * 40})
    corpora = {
        Layout(Run(), own).corpus for own in (first, other, study(root, **{"benchmarks.more": {"source": "nq"}}))
    }
    assert len(corpora) == 2 and all(path.parent.name.startswith("book-") for path in corpora)
    assert len({Layout(Run(), own).index("e5") for own in (first, other)}) == 2


def test_the_command_brings_a_declared_row_by_its_name_or_folder(root: Path, tmp_path: Path) -> None:
    (tmp_path / "mirror" / "me" / "quiz").mkdir(parents=True)
    (tmp_path / "mirror" / "me" / "quiz" / "test.jsonl").write_bytes(lines(ROW))
    own = study(root)
    write_study(own, tmp_path / "study.json")
    options = ["--study", str(tmp_path / "study.json"), "--mirror", str(tmp_path / "mirror"), "--out"]
    for number, name in enumerate(("quiz", questions_row(own, "quiz").folder)):
        done = mrsearch("data", "download", "--row", name, *options, str(tmp_path / str(number)), cwd=root)
        assert (done.returncode, done.stderr) == (0, "")
        assert (tmp_path / str(number) / "test.jsonl").read_bytes() == lines(ROW)
    done = mrsearch("data", "download", "--row", "quizz", *options, str(tmp_path / "no"), cwd=root)
    assert done.returncode == 2 and "'quizz' is no row of the registry" in done.stderr


def test_the_guides_example_is_a_study(root: Path, tmp_path: Path) -> None:
    page = (root / "docs" / "guides" / "benchmark.md").read_text(encoding="utf-8")
    (example,) = [block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "rows:" in block]
    own = load_study(Run(study="paper", overrides=yaml.safe_load(example)), root)
    names = {entry.name for entry in downloads_of(own)}
    assert {"quiz", "quiz_train", "handbook", "nq"} <= names
