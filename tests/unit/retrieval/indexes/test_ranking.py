import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrsearch.config.retrieval import DenseRetriever, Encoder
from mrsearch.retrieval.indexes import faiss_index
from mrsearch.retrieval.indexes.builder import vector_dtype
from mrsearch.retrieval.indexes.dense import EXACT, VECTORS, open_vector_index
from mrsearch.retrieval.indexes.ranking import rank
from mrsearch.retrieval.indexes.vector_file import VectorWriter, open_vectors


def built(vectors, kind, folder, **options):
    config = DenseRetriever(encoder=Encoder(kind="minilm"), index=kind, **options)
    writer = VectorWriter(folder / VECTORS, *vectors.shape, vector_dtype(config), {})
    writer.write(0, vectors)
    writer.commit(len(vectors))
    rows = open_vectors(folder / VECTORS, *vectors.shape, vector_dtype(config))
    if kind not in EXACT:
        faiss_index.build(config, rows, folder)
    return open_vector_index(config, folder, rows), rows.astype(np.float32)


def brute_force(vectors, queries, topk):
    scores = queries.astype(np.float64) @ vectors.astype(np.float64).T
    orders = np.argsort(-scores, axis=1, kind="stable")[:, :topk]
    return [[int(p) for p in order if row[p] > 0] for order, row in zip(orders, scores, strict=True)]


def unit(rng, n, dim):
    vectors = rng.standard_normal((n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize(("kind", "scan"), [*((kind, "half") for kind in EXACT), ("torch", "float32")])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), copies=st.integers(1, 40), topk=st.integers(1, 60))
def test_exact_and_tie_safe_whatever_the_batch(tmp_path_factory, kind, scan, seed, copies, topk):
    rng = np.random.default_rng(seed)
    vectors = np.repeat(unit(rng, 50, 16), copies, axis=0)[rng.permutation(50 * copies)]
    index, stored = built(vectors, kind, tmp_path_factory.mktemp("index"), scan=scan)
    queries = unit(rng, 9, 16)
    queries[3] = 0.0
    together = rank(index, queries, topk)
    assert [ranking.positions for ranking in together] == brute_force(stored, queries, topk)
    batches = [queries[:1], queries[1:3], queries[3:4], queries[4:]]
    assert [ranking for batch in batches for ranking in rank(index, batch, topk)] == together
    assert together[3] == ([], [])


@pytest.mark.parametrize(
    ("kind", "options", "least"),
    [("ivf_sq8", {"nlist": 16, "nprobe": 8}, 0.9), ("hnsw", {}, 0.98), ("pq_refine", {}, 0.95)],
)
def test_approximate_indexes_find_most_of_the_exact_hits(tmp_path, kind, options, least):
    rng = np.random.default_rng(1)
    centres = unit(rng, 20, 32)
    vectors = centres[rng.integers(0, 20, 4000)] + 0.15 * rng.standard_normal((4000, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index, stored = built(vectors.astype(np.float32), kind, tmp_path, **options)
    queries = vectors[::40]
    exact = brute_force(stored, queries, 10)
    found = [ranking.positions for ranking in rank(index, queries, 10)]
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, found, strict=True)])
    assert recall >= least
    assert all(len(positions) == 10 for positions in found)


def test_too_many_cells_for_the_corpus_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"nlist \(1024\) needs at least 39936 passages to train, the corpus has 100"):
        built(unit(np.random.default_rng(0), 100, 8), "ivf_sq8", tmp_path)


@pytest.mark.parametrize("kind", EXACT)
def test_topk_above_the_corpus_never_leaks_a_missing_position(tmp_path, kind):
    vectors = unit(np.random.default_rng(0), 3, 8)
    index, _ = built(vectors, kind, tmp_path)
    (ranking,) = rank(index, vectors[:1], 50)
    assert ranking.positions[0] == 0
    assert set(ranking.positions) <= {0, 1, 2}


@pytest.mark.parametrize("kind", EXACT)
def test_truncated_vectors_are_refused(tmp_path, kind):
    vectors = unit(np.random.default_rng(0), 300, 32)
    built(vectors, kind, tmp_path)
    file = tmp_path / VECTORS
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ValueError, match="do not hold 300"):
        open_vectors(file, 300, 32, vector_dtype(DenseRetriever(encoder=Encoder(kind="minilm"), index=kind)))


def test_truncated_approximate_index_is_refused(tmp_path):
    vectors = unit(np.random.default_rng(0), 300, 32)
    built(vectors, "hnsw", tmp_path)
    file = tmp_path / faiss_index.FILE
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="not a readable FAISS index"):
        open_vector_index(DenseRetriever(encoder=Encoder(kind="minilm"), index="hnsw"), tmp_path, vectors)
