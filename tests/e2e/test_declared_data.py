"""Questions and passages that a study declares, from a mirror to tables, without an edit of the package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mrsearch.agent.questions import read_questions
from mrsearch.config import read_study
from mrsearch.retrieval.indexes.passages import PassageStore

from .conftest import Project

pytestmark = pytest.mark.e2e
COMMIT = "1" * 40


def declared(kind: str, repository: str, file: str, **keys: Any) -> dict[str, Any]:
    return {"kind": kind, "repository": repository, "revision": COMMIT, "files": [{"path": file}], **keys}


STUDY: dict[str, Any] = {
    "name": "declared",
    "data": {
        "kind": "hub",
        "corpus": "book",
        "train": "quiz_train",
        "validation_share": 0.25,
        "rows": {
            "quiz": declared("questions", "me/quiz", "test.csv", split="test", fields={"golden_answers": "answer"}),
            "quiz_train": declared("questions", "me/quiz", "train.jsonl", split="train"),
            "book": declared("corpus", "me/book", "b.jsonl"),
        },
    },
    "retrieval": {"use": "bow", "retrievers": {"bow": {"kind": "dense", "encoder": {"kind": "bow"}}}},
    "models": {"tiny": {"kind": "tiny", "tokenizer": "bpe"}},
    "methods": {"agent": {"train": {"algorithm": "grpo"}}},
    "benchmarks": {"quiz": {}, "validation": {"average": False}},
    "report": {"baseline": "agent"},
}


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """Two questions, eight training questions that ask one of them too, and eight passages."""
    for name in ("quiz", "book"):
        (tmp_path / "mirror" / "me" / name).mkdir(parents=True)
    quiz, book = tmp_path / "mirror" / "me" / "quiz", tmp_path / "mirror" / "me" / "book"
    (quiz / "test.csv").write_text('id,question,answer\n1,"who, exactly",ab\n2,where,cd\n')
    texts = [{"id": n, "question": "WHERE" if n == 3 else f"what {n}", "golden_answers": ["a"]} for n in range(8)]
    (quiz / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    passages = [{"id": n, "contents": f"T{n}\ntext {n}"} for n in range(8)]
    (book / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in passages))
    return tmp_path / "mirror"


def test_declared_data_is_downloaded_prepared_and_compared(project: Project, mirror: Path, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    places = f"paths={{results: {tmp_path}/results, resources: {tmp_path}/resources, mirror: {mirror}}}"
    config = [f"study={tmp_path}/study.yaml", places]
    project.snakemake("data", config=config)
    folder = tmp_path / "results" / "declared"
    report = json.loads((folder / "data" / "overlap.json").read_text())
    assert report["quiz"] == {"questions": 2, "shared": 1, "ids": ["2"]}
    assert report["validation"] == {"questions": 2, "shared": 0, "ids": []}
    assert read_questions(folder / "data" / "quiz.parquet")[0].golden_answers == ("ab",)
    assert read_study(folder / "study.json").name == "declared"
    (corpus,) = (tmp_path / "resources").glob("book-*/corpus")
    assert len(list(PassageStore(corpus))) == 8
    assert "Nothing to be done" in project.snakemake("data", config=config)
