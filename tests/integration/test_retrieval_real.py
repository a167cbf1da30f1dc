"""Exact backends against a float64 brute force, on real questions, passages and MiniLM vectors."""

import json

import numpy as np
import pytest
from support.project import REAL_DATA

from mrsearch.agent.questions import read_questions
from mrsearch.config import load_run, load_study
from mrsearch.data.corpus import read_corpus
from mrsearch.retrieval.indexes.index import build_index, open_searcher
from mrsearch.retrieval.indexes.passages import PassageStore, build_store
from mrsearch.retrieval.indexes.quality import report

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not REAL_DATA.is_dir(), reason=f"the real questions and passages are not at {REAL_DATA}"),
]
QUESTIONS = 60
KINDS = {
    "flat": {"index": "flat"},
    "sq_fp16": {"index": "sq_fp16"},
    "half": {"index": "torch"},
    "full": {"index": "torch", "scan": "float32"},
}


def study():
    retrievers = {
        name: {"kind": "dense", "encoder": {"kind": "minilm", "max_tokens": 64}, **options}
        for name, options in KINDS.items()
    }
    return load_study(
        load_run(
            {
                "study": "demo",
                "overrides": {"retrieval.compared": [], "retrieval.retrievers": retrievers, "retrieval.use": "flat"},
            }
        )
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("real")
    support = [json.loads(line) for line in (REAL_DATA / "support.dev.jsonl").read_text().splitlines()[:QUESTIONS]]
    wanted = {row["answer_passage_ids"][0] for row in support if row["answer_passage_ids"]}
    rows = (row for n, row in enumerate(read_corpus(REAL_DATA / "corpus.jsonl.gz")) if row[0] in wanted or n % 600 == 0)
    build_store(rows, place / "corpus")
    for name in KINDS:
        build_index(study(), name, place / "corpus", place / "indexes" / name)
    return place


@pytest.fixture(scope="module")
def asked():
    return {"nq": read_questions(REAL_DATA / "questions" / "nq.dev.jsonl")[:QUESTIONS]}


@pytest.mark.parametrize("name", KINDS)
def test_exact_backends_agree_with_float64_brute_force(place, asked, name):
    store = PassageStore(place / "corpus")
    searcher = open_searcher(study(), name, store, place / "indexes")
    queries = [item.question for item in asked["nq"]]
    vectors = np.asarray(searcher._rows, dtype=np.float64)
    scores = searcher._encoder.queries(queries).astype(np.float64) @ vectors.T
    found = searcher.search(queries, 10)
    for row, ranking in zip(scores, found, strict=True):
        best = np.argsort(-row, kind="stable")[:10]
        assert ranking.positions == [position for position in best if row[position] > 0]
        assert ranking.scores == pytest.approx(row[ranking.positions].tolist(), abs=1e-6)


def test_quality_report_over_real_questions(place, asked):
    rows = report(study(), place / "corpus", place / "indexes", asked, depths=(1, 10))
    at = {row.retriever: row.at for row in rows if row.benchmark == "all"}
    assert set(at) == set(KINDS)
    assert at["half"] == at["sq_fp16"], "the same vectors, searched exactly"
    assert 0 < at["flat"][10] < 1 and at["flat"][1] <= at["flat"][10]
