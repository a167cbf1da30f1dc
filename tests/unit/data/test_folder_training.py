"""Training questions of a folder: read strictly, held out for validation, compared with the benchmarks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mrsearch.agent.questions import read_questions
from mrsearch.config import Study
from mrsearch.data.folder import passage_files, question_files
from mrsearch.data.overlap import write_overlap
from mrsearch.data.questions import read_passages, sources, write_questions

BENCHMARKS = {"mine": {}, "validation": {"average": False}}


def row(identifier: str, question: str) -> dict[str, Any]:
    return {"id": identifier, "question": question, "golden_answers": ["a"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten training questions, of which two are asked by the benchmark too, and a passage for each."""
    asked = [row("b0", "Who wrote 'Emma'?"), row("b1", "where is Bath"), row("b2", "why")]
    train = [
        row("t0", "who wrote emma"),
        row("t1", "Where is  Bath?"),
        *(row(f"t{n}", f"what {n}") for n in range(2, 10)),
    ]
    passages = [{"id": str(n), "title": f"T{n}", "text": "text"} for n in range(20)]
    support = [{"benchmark": "train", "id": f"t{n}", "supporting_ids": [str(n)]} for n in range(10)]
    support += [{"benchmark": "mine", "id": f"b{n}", "supporting_ids": [str(10 + n)]} for n in range(3)]
    (tmp_path / "questions").mkdir()
    files = {"questions/mine.dev.jsonl": asked, "questions/train.jsonl": train, "corpus.jsonl.gz": passages}
    for name, rows in {**files, "support.jsonl": support}.items():
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in rows))
    return tmp_path


def study(folder: Path, benchmarks: dict[str, Any] = BENCHMARKS, **data: Any) -> Study:
    given = {"kind": "folder", "path": str(folder), "train": "questions/train.jsonl", "validation_share": 0.3}
    return Study.model_validate(
        {
            "name": "own",
            "data": given | data,
            "retrieval": {"use": "bow", "retrievers": {"bow": {"kind": "dense", "encoder": {"kind": "bow"}}}},
            "models": {"tiny": {"kind": "tiny", "tokenizer": "bpe"}},
            "methods": {"agent": {"train": {"algorithm": "grpo"}}},
            "benchmarks": benchmarks,
            "report": {"baseline": "agent"},
        }
    )


def ids(study: Study, dataset: str, folder: Path) -> list[str]:
    write_questions(study, dataset, folder / "out" / f"{dataset}.parquet")
    return [question.id for question in read_questions(folder / "out" / f"{dataset}.parquet")]


def test_training_and_validation_share_nothing_and_lack_nothing(folder: Path) -> None:
    own = study(folder)
    trained, held_out = ids(own, "train", folder), ids(own, "validation", folder)
    assert (len(trained), len(held_out)) == (7, 3)
    assert sorted([*trained, *held_out]) == [f"t{n}" for n in range(10)]
    assert trained == sorted(trained), "in the file's order"
    assert ids(study(folder, {"mine": {}}, validation_share=None), "train", folder) == [f"t{n}" for n in range(10)]


def test_a_benchmark_of_another_name_may_read_the_validation_questions(folder: Path) -> None:
    own = study(folder, {"mine": {}, "tuning": {"source": "validation"}}, questions_per_benchmark=2)
    assert set(ids(own, "tuning", folder)) < set(ids(study(folder), "validation", folder))
    assert len(ids(own, "tuning", folder)) == 2


def test_without_a_share_validation_is_a_file_like_any_other(folder: Path) -> None:
    own = study(folder, validation_share=None)
    with pytest.raises(ValueError, match=r"validation.dev.jsonl: cannot be read"):
        ids(own, "validation", folder)
    (folder / "questions" / "validation.dev.jsonl").write_text(json.dumps(row("v", "when")))
    assert ids(own, "validation", folder) == ["v"]


def test_what_training_shares_with_the_benchmarks_is_counted(folder: Path) -> None:
    own = study(folder, validation_share=0.1)
    for dataset in ("train", *own.benchmarks):
        ids(own, dataset, folder)
    write_overlap(own, folder / "out", folder / "overlap.json")
    report = json.loads((folder / "overlap.json").read_text())
    shared = [name for name in ("t0", "t1") if name in ids(own, "train", folder)]
    assert report["mine"] == {"questions": 3, "shared": len(shared), "ids": ["b0", "b1"][: len(shared)]}
    assert report["validation"]["shared"] == 0


def test_what_training_shares_with_the_benchmarks_can_be_left_out(folder: Path) -> None:
    kept = ids(study(folder, {"mine": {}}, validation_share=None, drop_overlap=True), "train", folder)
    assert kept == [f"t{n}" for n in range(2, 10)]
    few = study(folder, {"mine": {}}, validation_share=None, drop_overlap=True, questions_per_benchmark=1)
    assert ids(few, "train", folder) == kept, "whatever part of the benchmark is asked"


def test_a_training_set_that_is_all_overlap_is_refused(folder: Path) -> None:
    (folder / "questions" / "train.jsonl").write_text(json.dumps(row("t", "WHY")))
    with pytest.raises(ValueError, match=r"train: every question is asked by a benchmark too: set data.drop_overlap"):
        ids(study(folder, {"mine": {}}, validation_share=None, drop_overlap=True), "train", folder)
    assert not (folder / "out" / "train.parquet").exists()


def test_passages_are_kept_for_training_questions_too(folder: Path) -> None:
    own = study(folder, support="support.jsonl", passages=13)
    assert {name for name, _, _ in read_passages(own)} == {str(n) for n in range(13)}
    with pytest.raises(ValueError, match=r"data.passages \(12\) is smaller than the 13 passages"):
        read_passages(study(folder, support="support.jsonl", passages=12))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"id": "a", "question": "b"}', r"train.jsonl, line 1: a question needs the keys .* golden_answers"),
        (
            '{"id": "a", "id": "b", "question": "c", "golden_answers": ["d"]}',
            r"line 1: the key 'id' stands there 2 times",
        ),
        (
            '{"id": "a", "question": "c", "golden_answers": ["d"], "m": {"x": 1, "y": 2, "x": 3}}',
            r"line 1: the key 'x' stands there 2 times: keep one",
        ),
        (
            '{"id": "a", "question": "c", "golden_answers": ["d"]}\n\n'
            '{"id": "a", "question": "e", "golden_answers": ["d"]}',
            r"train.jsonl: 1 ids appear more than once, 'a' among them \(line 1 and line 3\)",
        ),
        ("", r"train.jsonl: holds no row; data.train needs at least one"),
    ],
)
def test_a_training_question_that_cannot_be_used_is_named(folder: Path, lines: str, message: str) -> None:
    (folder / "questions" / "train.jsonl").write_text(lines)
    for dataset in ("train", "validation"):
        with pytest.raises(ValueError, match=message):
            ids(study(folder), dataset, folder)


def test_a_missing_training_file_is_named_with_its_key(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"no.jsonl: cannot be read .*data.train needs it"):
        ids(study(folder, train="questions/no.jsonl"), "train", folder)


def test_the_files_that_decide_questions_and_passages_are_known(folder: Path) -> None:
    own = study(folder, support="support.jsonl", passages=13)
    files = question_files(own.data, ["train", *sources(own)])
    assert {name: file.name for name, file in files.items()} == {"train": "train.jsonl", "mine": "mine.dev.jsonl"}
    deciding = [file.name for file in passage_files(own.data, sources(own))]
    assert sorted(deciding) == ["corpus.jsonl.gz", "mine.dev.jsonl", "support.jsonl", "train.jsonl"]
    assert [file.name for file in passage_files(study(folder).data, sources(own))] == ["corpus.jsonl.gz"]
    assert all(file.is_file() for file in [*files.values(), *passage_files(own.data, sources(own))])
