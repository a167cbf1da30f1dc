"""BM25 by Lucene, with the Java runtime from the package index."""

import asyncio
import importlib.util
import math
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from mrsearch.config import load_run, load_study
from mrsearch.retrieval.engine import open_engine
from mrsearch.retrieval.indexes.index import build_index, open_searcher
from mrsearch.retrieval.indexes.passages import PassageStore, build_store

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        importlib.util.find_spec("pyserini") is None,
        reason="BM25 needs pip install --no-deps --require-hashes -r envs/lexical.lock.txt",
    ),
]
WORDS = [f"qz{n}" for n in range(80)]
RETRIEVERS = {
    "dense": {"kind": "dense", "encoder": {"kind": "bow"}},
    "bm25": {"kind": "lexical"},
    "both": {"kind": "hybrid", "of": ["dense", "bm25"], "depth": 20},
}


def study(use="bm25"):
    return load_study(
        load_run(
            {
                "study": "demo",
                "overrides": {"retrieval.compared": [], "retrieval.retrievers": RETRIEVERS, "retrieval.use": use},
            }
        )
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("lexical")
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, rng.integers(3, 30))) for _ in range(400)]
    texts[7] = texts[300]
    build_store(((f"id{n}", "title", text) for n, text in enumerate(texts)), place / "corpus")
    for name in ("dense", "bm25"):
        build_index(study(), name, place / "corpus", place / "indexes" / name)
    return place


def bm25(texts, query, k1=0.9, b=0.4):
    """Lucene's formula; document lengths below 40 are kept exactly by its one-byte norms."""
    documents = [Counter(("titl " + text).split()) for text in texts]
    lengths = [sum(document.values()) for document in documents]
    mean = sum(lengths) / len(lengths)
    scores = np.zeros(len(texts))
    for word in query.split():
        having = sum(word in document for document in documents)
        idf = math.log(1 + (len(texts) - having + 0.5) / (having + 0.5))
        for n, document in enumerate(documents):
            tf = document[word]
            scores[n] += idf * tf / (tf + k1 * (1 - b + b * lengths[n] / mean))
    return scores


def test_scores_are_bm25_and_batches_agree_with_single_queries(place):
    store = PassageStore(place / "corpus")
    searcher = open_searcher(study(), "bm25", store, place / "indexes")
    texts = [passage.text for passage in store]
    queries = [" ".join(np.random.default_rng(n).choice(WORDS, 3, replace=False)) for n in range(20)]
    together = searcher.search(queries, 10)
    assert [searcher.search([query], 10)[0] for query in queries] == together
    for query, ranking in zip(queries, together, strict=True):
        expected = bm25(texts, query)
        assert ranking.scores == pytest.approx(np.sort(expected)[::-1][:10].tolist(), abs=1e-3)
        assert [expected[p] for p in ranking.positions] == pytest.approx(ranking.scores, abs=1e-3)


def test_equal_passages_are_ordered_by_position(place):
    store = PassageStore(place / "corpus")
    (ranking,) = open_searcher(study(), "bm25", store, place / "indexes").search([store[300].text], 2)
    assert ranking.positions == [7, 300]


def test_odd_queries_have_no_hits_and_long_ones_are_cut(place):
    searcher = open_searcher(study(), "bm25", PassageStore(place / "corpus"), place / "indexes")
    odd = ["", "   ", "unheard", "the of", "\ud800", "\0", "🙂", '"( AND * ~ \\']
    assert searcher.search(odd, 5) == [([], [])] * len(odd)
    (ranking,) = searcher.search([" ".join(WORDS * 200)], 5)
    assert len(ranking.positions) == 5


def test_hybrid_engine_fuses_both(place):
    engine = open_engine(study("both"), place / "corpus", place / "indexes")
    store = PassageStore(place / "corpus")

    async def ask():
        return await asyncio.gather(*(engine.search(store[n].text, 3) for n in range(20)))

    for n, hits in enumerate(asyncio.run(ask())):
        if n != 7:
            assert hits[0].passage.id == f"id{n}"
            assert hits[0].score == pytest.approx(2 / 61)


def test_runs_without_any_java_on_the_machine(place):
    code = "import sys; from pathlib import Path; from mrsearch.retrieval.indexes import java; "
    code += "print(java.load('java.lang.System').getProperty('java.home'), java.home(), sep='\\n')"
    bare = {"PATH": "/nonexistent", "LANG": "C.UTF-8"}
    done = subprocess.run([sys.executable, "-c", code], env=bare, capture_output=True, text=True, check=True)
    used, packaged = done.stdout.splitlines()[-2:]
    assert os.path.realpath(used) == os.path.realpath(packaged)
