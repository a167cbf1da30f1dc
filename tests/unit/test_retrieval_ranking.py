import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrsearch.config.retrieval import DenseRetriever, Encoder
from mrsearch.retrieval import faiss_index
from mrsearch.retrieval.ranking import rank


def built(vectors, kind="flat", folder=None):
    config = DenseRetriever(encoder=Encoder(kind="minilm"), index=kind)
    index = faiss_index.create(config, vectors.shape[1])
    index.add(vectors)
    faiss_index.write(index, folder)
    return faiss_index.read(config, folder)


def brute_force(vectors, queries, topk):
    scores = queries.astype(np.float64) @ vectors.astype(np.float64).T
    orders = np.argsort(-scores, axis=1, kind="stable")[:, :topk]
    return [[int(p) for p in order if row[p] > 0] for order, row in zip(orders, scores, strict=True)]


def unit(rng, n, dim):
    vectors = rng.standard_normal((n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), copies=st.integers(1, 40), topk=st.integers(1, 60))
def test_exact_and_tie_safe_whatever_the_batch(tmp_path_factory, seed, copies, topk):
    rng = np.random.default_rng(seed)
    vectors = np.repeat(unit(rng, 50, 16), copies, axis=0)[rng.permutation(50 * copies)]
    index = built(vectors, folder=tmp_path_factory.mktemp("index"))
    queries = unit(rng, 9, 16)
    queries[3] = 0.0
    together = rank(index, queries, topk)
    assert [ranking.positions for ranking in together] == brute_force(vectors, queries, topk)
    assert [rank(index, queries[n : n + 1], topk)[0] for n in range(9)] == together
    assert together[3] == ([], [])


def test_topk_above_the_corpus_never_leaks_a_missing_position(tmp_path):
    vectors = unit(np.random.default_rng(0), 3, 8)
    (ranking,) = rank(built(vectors, folder=tmp_path), vectors[:1], 50)
    assert ranking.positions[0] == 0
    assert set(ranking.positions) <= {0, 1, 2}


@pytest.mark.parametrize("kind", ["flat", "sq_fp16"])
def test_truncated_index_is_refused(tmp_path, kind):
    vectors = unit(np.random.default_rng(0), 300, 32)
    built(vectors, kind, tmp_path)
    file = tmp_path / faiss_index.FILE
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="not a readable FAISS index"):
        faiss_index.read(DenseRetriever(encoder=Encoder(kind="minilm"), index=kind), tmp_path)
