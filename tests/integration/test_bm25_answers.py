"""BM25 over all real passages finds answers as often as an independent BM25 does."""

from __future__ import annotations

import importlib.util

import orjson
import pytest

from mrsearch.agent.scoring import normalize
from mrsearch.config import load_study
from mrsearch.config.run import Run
from mrsearch.data.questions import read_passages
from mrsearch.retrieval.indexes.index import build_index, open_searcher
from mrsearch.retrieval.indexes.passages import PassageStore, build_store

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        importlib.util.find_spec("pyserini") is None,
        reason="BM25 needs pip install --no-deps --require-hashes -r envs/lexical.lock.txt",
    ),
]
INDEPENDENT = {
    "nq": 0.570,
    "triviaqa": 0.669,
    "popqa": 0.393,
    "hotpotqa": 0.550,
    "2wikimultihopqa": 0.539,
    "musique": 0.211,
    "bamboogle": 0.119,
}
"""Share of questions with an answer in the first three passages, by another BM25 (k1 0.9, b 0.4, no stemming)."""
TOLERANCE = 0.05
"""Lucene's English analyzer stems, the independent figures do not: ours may be a little higher."""


def test_answers_in_the_first_three_passages(root, real_data, tmp_path):
    overrides = {
        "retrieval.use": "bm25",
        "retrieval.compared": [],
        "retrieval.retrievers": {"bm25": {"kind": "lexical"}},
        "data.path": str(real_data),
        "data.passages": None,
        "data.questions_per_benchmark": None,
    }
    study = load_study(Run(study="real-smoke", overrides=overrides), root)
    build_store(read_passages(study), tmp_path / "corpus")
    build_index(study, "bm25", tmp_path / "corpus", tmp_path / "index" / "bm25")
    store = PassageStore(tmp_path / "corpus")
    assert len(store) == 25_828
    searcher = open_searcher(study, "bm25", store, tmp_path / "index")
    found = {}
    for benchmark in INDEPENDENT:
        lines = (real_data / "questions" / f"{benchmark}.dev.jsonl").read_bytes().splitlines()
        rows = [orjson.loads(line) for line in lines]
        rankings = searcher.search([row["question"] for row in rows], 3)
        hits = [
            any(holds(store[place].title + "\n" + store[place].text, row["golden_answers"]) for place in places)
            for row, (places, _) in zip(rows, rankings, strict=True)
        ]
        found[benchmark] = sum(hits) / len(hits)
    assert found == pytest.approx(INDEPENDENT, abs=TOLERANCE)


def holds(text: str, golds: list[str]) -> bool:
    """Whether the text holds one of the answers, word by word in normal form."""
    words = f" {normalize(text)} "
    return any(f" {normalize(gold)} " in words for gold in golds if normalize(gold))
