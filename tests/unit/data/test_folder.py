"""Questions and passages from a folder, and the table that questions are stored in."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest

from mrsearch.agent.questions import read_questions
from mrsearch.config import Study
from mrsearch.config.data import FolderData
from mrsearch.data.folder import read_folder_passages, read_folder_questions
from mrsearch.data.questions import read_passages, write_questions

PASSAGES = 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty passages, a benchmark of five questions and the passages that belong to them."""
    rows = [{"id": str(n), "contents": f'"Title {n}"\nText {n}'} for n in range(PASSAGES)]
    with gzip.open(tmp_path / "corpus.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    questions = [{"id": f"q{n}", "question": f" who is {n} ", "golden_answers": [f"a{n}", "b"]} for n in range(5)]
    write(tmp_path / "questions" / "nq.dev.jsonl", questions)
    support = [{"benchmark": "nq", "id": f"q{n}", "supporting_ids": [], "retrieved_ids": [str(n)]} for n in range(5)]
    support.append({"benchmark": "other", "id": "q0", "supporting_ids": ["19"]})
    write(tmp_path / "support.jsonl", support)
    return tmp_path


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def study(data: FolderData, **protocol: Any) -> Study:
    return Study.model_validate(
        {
            "name": "folder",
            "data": data.model_dump(),
            "protocol": protocol,
            "retrieval": {"use": "bow", "retrievers": {"bow": {"kind": "dense", "encoder": {"kind": "bow"}}}},
            "models": {"tiny": {"kind": "tiny"}},
            "methods": {"direct": {"procedure": "direct"}},
            "benchmarks": {"natural": {"source": "nq"}},
            "report": {"baseline": "direct"},
        }
    )


def test_all_questions_come_in_the_files_order(folder: Path) -> None:
    rows = read_folder_questions(FolderData(path=str(folder)), "nq")
    assert [row["id"] for row in rows] == ["q0", "q1", "q2", "q3", "q4"]


def test_a_part_of_the_questions_is_the_first_by_sha1(folder: Path) -> None:
    rows = read_folder_questions(FolderData(path=str(folder), questions_per_benchmark=3), "nq")
    expected = sorted((f"q{n}" for n in range(5)), key=lambda name: hashlib.sha1(name.encode()).hexdigest())
    assert [row["id"] for row in rows] == expected[:3]


def test_the_questions_own_passages_are_kept_among_distractors(folder: Path) -> None:
    data = FolderData(path=str(folder), support="support.jsonl", passages=9)
    kept = [row[0] for row in read_folder_passages(data, ["nq"])]
    assert {"0", "1", "2", "3", "4"} < set(kept)
    assert len(kept) == 9
    assert kept == sorted(kept, key=int)
    assert kept == [row[0] for row in read_folder_passages(data, ["nq"])]
    other = data.model_copy(update={"seed": 1})
    assert kept != [row[0] for row in read_folder_passages(other, ["nq"])]


def test_without_a_limit_every_passage_is_kept(folder: Path) -> None:
    rows = list(read_folder_passages(FolderData(path=str(folder)), ["nq"]))
    assert len(rows) == PASSAGES
    assert rows[3] == ("3", '"Title 3"', "Text 3")


def test_too_few_passages_for_the_questions_are_refused(folder: Path) -> None:
    data = FolderData(path=str(folder), support="support.jsonl", passages=4)
    with pytest.raises(ValueError, match=r"data.passages \(4\) is smaller than the 5 passages"):
        read_folder_passages(data, ["nq"])


def test_support_outside_the_corpus_is_refused(folder: Path) -> None:
    write(folder / "support.jsonl", [{"benchmark": "nq", "id": "q0", "supporting_ids": ["99"]}])
    data = FolderData(path=str(folder), support="support.jsonl", passages=4)
    with pytest.raises(ValueError, match="'99' among them"):
        read_folder_passages(data, ["nq"])


def test_a_missing_file_is_named_with_its_purpose(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"popqa.dev.jsonl: cannot be read .*benchmark 'popqa' needs it"):
        read_folder_questions(FolderData(path=str(folder)), "popqa")
    with pytest.raises(ValueError, match=r"no.gz: no such file; data.path and data.corpus"):
        read_folder_passages(FolderData(path=str(folder), corpus="no.gz"), ["nq"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "a", "question": "b"}', "line 1: a question needs the keys"),
        ('{"id": 3, "question": "b", "golden_answers": ["c"]}', "line 1: id and question must be text"),
        ("{", "line 1: not JSON"),
        ("[]", "line 1: a question needs the keys"),
    ],
)
def test_a_malformed_question_is_refused_with_its_line(folder: Path, line: str, message: str) -> None:
    (folder / "questions" / "nq.dev.jsonl").write_text(line + "\n")
    with pytest.raises(ValueError, match=message):
        read_folder_questions(FolderData(path=str(folder)), "nq")


def test_the_table_reads_back_as_questions_and_as_verls_rows(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "natural.parquet"
    write_questions(study(FolderData(path=str(folder)), prompts={"system": "S"}), "natural", out)
    questions = read_questions(out)
    assert [question.question for question in questions] == [f"who is {n}?" for n in range(5)]
    assert questions[2].golden_answers == ("a2", "b")
    assert {question.benchmark for question in questions} == {"natural"}
    row = parquet.read_table(out).to_pylist()[1]
    assert row["prompt"][0] == {"content": "S", "role": "system"}
    assert "Question: who is 1?" in row["prompt"][1]["content"]
    assert row["reward_model"]["ground_truth"]["target"] == row["golden_answers"]
    assert row["extra_info"] == {"index": 1, "split": "test"}
    assert [file.name for file in out.parent.iterdir()] == [out.name]


def test_the_question_mark_is_the_protocols_choice(folder: Path, tmp_path: Path) -> None:
    write_questions(study(FolderData(path=str(folder)), append_question_mark=False), "natural", tmp_path / "q.parquet")
    assert read_questions(tmp_path / "q.parquet")[0].question == "who is 0"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "a", "question": "b", "golden_answers": ["c"]}] * 2, "'a' among them"),
        ([{"id": "a", "question": " ", "golden_answers": ["c"]}], "line 1: nothing can be seen of the question"),
        ([{"id": "a", "question": "b", "golden_answers": []}], r"line 1: golden_answers is empty"),
        ([{"id": "a", "question": "b", "golden_answers": "c"}], "line 1: golden_answers .* must be a list"),
        ([{"id": "a", "question": "b", "golden_answers": None}], "line 1: golden_answers .* must be a list"),
        ([{"id": "a", "question": "b", "golden_answers": [["c"]]}], "line 1: golden_answers holds .* no text"),
        ([{"id": "a", "question": "b", "golden_answers": ["c", None]}], "line 1: golden_answers holds None"),
        ([{"id": "a", "question": "b", "golden_answers": [True]}], "line 1: golden_answers holds True"),
        ([{"id": "a", "question": "b", "golden_answers": [{"c": 1}]}], "line 1: golden_answers holds .* no text"),
        (
            [{"id": "a", "question": "b", "golden_answers": ["c", " "]}],
            "line 1: golden_answers holds ' ', in which nothing",
        ),
        ([], "holds no row"),
    ],
)
def test_unusable_questions_write_nothing(folder: Path, tmp_path: Path, rows: list[Any], message: str) -> None:
    write(folder / "questions" / "nq.dev.jsonl", rows)
    out = tmp_path / "new" / "natural.parquet"
    with pytest.raises(ValueError, match=message):
        write_questions(study(FolderData(path=str(folder))), "natural", out)
    assert not out.exists()


def test_a_data_set_outside_the_study_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'nq' is neither \"train\" nor a benchmark of the study: natural"):
        write_questions(study(FolderData(path=str(folder))), "nq", tmp_path / "q.parquet")


def test_the_study_decides_which_questions_choose_the_passages(folder: Path) -> None:
    chosen = study(FolderData(path=str(folder), support="support.jsonl", passages=5))
    assert [row[0] for row in read_passages(chosen)] == ["0", "1", "2", "3", "4"]


def test_real_questions_become_a_table(real_data: Path, tmp_path: Path) -> None:
    data = FolderData(path=str(real_data), support="support.dev.jsonl", passages=2000, questions_per_benchmark=4)
    write_questions(study(data), "natural", tmp_path / "nq.parquet")
    questions = read_questions(tmp_path / "nq.parquet")
    assert len(questions) == 4
    assert all(question.question.endswith("?") and question.golden_answers for question in questions)
    assert sum(1 for _ in read_folder_passages(data, ["nq", "popqa"])) == 2000
