"""The fused exact search, in Triton's interpreter: its results are those of sorting all products."""

from __future__ import annotations

import importlib.util
import itertools

import numpy as np
import pytest
import torch

from mrsearch.retrieval.indexes import fused_search, shards
from mrsearch.retrieval.indexes.ranking import rank
from mrsearch.retrieval.indexes.torch_index import TorchIndex

pytestmark = pytest.mark.slow

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton has packages for Linux alone (envs/triton.lock.txt)"
)


@pytest.fixture
def interpreter(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")


def unit(rng, count, dim):
    vectors = rng.standard_normal((count, dim)).astype(np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def sorted_products(rows, queries, k):
    """Positions by product, equal ones by position."""
    products = torch.from_numpy(queries).half().double().numpy() @ rows.astype(np.float64).T
    order = np.argsort(-products, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(products, order, 1), order


SHAPES = [
    # rows, numbers, queries, k
    (1, 8, 1, 1),
    (1, 64, 3, 5),
    (127, 64, 1, 27),
    (128, 64, 16, 27),
    (129, 64, 17, 200),
    (700, 768, 2, 27),
    (500, 384, 64, 3),
    (1000, 100, 5, 200),
    (150, 33, 7, 200),
    (1300, 16, 130, 27),
    (9_000, 16, 3, 1),
    (150, 16, 2048, 2),
]


@needs_triton
@pytest.mark.parametrize(("count", "dim", "queries", "k"), SHAPES)
def test_the_largest_products_are_found_in_order(interpreter, count, dim, queries, k):
    rng = np.random.default_rng(count + queries)
    rows, asked = unit(rng, count, dim).astype(np.float16), unit(rng, queries, dim)
    products, positions = fused_search.fused_search(torch.from_numpy(rows), torch.from_numpy(asked), k)
    true_products, true_positions = sorted_products(rows, asked, k)
    assert positions.shape == (queries, min(k, count))
    np.testing.assert_allclose(products.numpy(), true_products, atol=2e-6)
    for found, true, values in zip(positions.tolist(), true_positions.tolist(), true_products, strict=True):
        close = np.flatnonzero(np.diff(values) > -2e-6)  # float32 may exchange such neighbours
        firm = sorted(set(range(len(values))) - set(close) - set(close + 1))
        assert [found[n] for n in firm[:-1]] == [true[n] for n in firm[:-1]]


@needs_triton
@pytest.mark.parametrize("devices", [1, 2, 3])
def test_equal_products_stand_in_the_order_of_their_positions(interpreter, devices):
    """Whole numbers, so that every sum is exact; most rows are copies, within blocks and across blocks and devices."""
    rng = np.random.default_rng(0)
    rows = rng.integers(-1, 2, (12, 32)).astype(np.float16)[rng.integers(0, 12, 1500)]
    queries = rng.integers(-2, 3, (5, 32)).astype(np.float32)
    index = TorchIndex(rows, devices=["cpu"] * devices)
    assert index.fused
    for k in (1, 27, 200):
        products, positions = index.search(queries, k)
        true_products, true_positions = sorted_products(rows, queries, k)
        assert positions.tolist() == true_positions.tolist() and products.tolist() == true_products.tolist()


@needs_triton
@pytest.mark.parametrize(("count", "devices"), [(900, 1), (900, 3), (2, 3), (40, 2)])
def test_rankings_are_those_of_float64(interpreter, count, devices):
    rng = np.random.default_rng(devices)
    rows = unit(rng, count, 96).astype(np.float16)
    queries = unit(rng, 20, 96)
    queries[7] = 0.0
    index = TorchIndex(rows, devices=["cpu"] * devices)
    assert index.fused and index.rescores_on_device
    exact = queries.astype(np.float64) @ rows.astype(np.float64).T
    rankings = rank(index, queries, 3)
    for ranking, products in zip(rankings, exact, strict=True):
        best = [int(n) for n in np.argsort(-products, kind="stable")[:3] if products[n] > 0]
        assert ranking.positions == best
        np.testing.assert_allclose(ranking.scores, products[best], rtol=1e-13)
    assert [rank(index, queries[n : n + 1], 3)[0] for n in (7, 19)] == [rankings[n] for n in (7, 19)]


@needs_triton
def test_no_candidate_is_read_from_the_file(interpreter):
    """The array behind a mapped file may go once it is loaded."""
    rows = unit(np.random.default_rng(2), 300, 64).astype(np.float16)
    index = TorchIndex(rows)
    expected = rank(index, rows[:5].astype(np.float32), 3)
    rows[:] = 0.0
    assert rank(index, expected_queries := index._shards[0][1][:5].float().numpy(), 3) == expected
    assert [ranking.positions[0] for ranking in expected] == [0, 1, 2, 3, 4] and len(expected_queries) == 5


@needs_triton
def test_rows_that_are_stored_in_float32_are_scored_from_the_file(interpreter):
    rows = unit(np.random.default_rng(3), 200, 32)
    index = TorchIndex(rows)
    assert index.fused and not index.rescores_on_device
    (ranking,) = rank(index, rows[5:6], 1)
    assert ranking.scores[0] == pytest.approx(float(rows[5].astype(np.float64) @ rows[5].astype(np.float64)), rel=1e-13)


@needs_triton
def test_queries_past_one_pass_and_candidates_past_one_batch(interpreter, monkeypatch):
    rng = np.random.default_rng(4)
    rows, queries = torch.from_numpy(unit(rng, 300, 16)).half(), torch.from_numpy(unit(rng, 23, 16))
    whole = fused_search.fused_search(rows, queries, 9)
    monkeypatch.setattr(fused_search, "QUERIES_AT_ONCE", 20)
    monkeypatch.setattr(fused_search, "CANDIDATES_AT_ONCE", 3 * 9 * fused_search.BLOCK_ROWS)
    parts = fused_search.fused_search(rows, queries, 9)
    assert torch.equal(whole[1], parts[1]) and torch.equal(whole[0], parts[0])


@needs_triton
def test_no_query_and_no_row(interpreter):
    rows = torch.zeros(5, 16, dtype=torch.float16)
    assert fused_search.fused_search(rows, torch.zeros(0, 16), 3)[1].shape == (0, 3)
    assert fused_search.fused_search(rows[:0], torch.zeros(2, 16), 3)[1].shape == (2, 0)


@pytest.mark.parametrize("width", [1, 63, 64, 65, 5000, 300_000])
@pytest.mark.parametrize("k", [1, 27, 200])
def test_the_largest_of_many_values_by_groups(width, k):
    values = np.random.default_rng(width + k).integers(-40, 40, (2, width)).astype(np.float32)
    values[0, : width // 2] = -np.inf
    places = fused_search.largest(torch.from_numpy(values), min(k, width))
    assert places.tolist() == np.argsort(-values, axis=1, kind="stable")[:, :k].tolist()


def test_both_zeros_are_equal():
    values = torch.tensor([[-0.0, 0.0, -1.0, 0.0, -0.0]])
    assert fused_search.largest(values, 5).tolist() == [[0, 1, 3, 4, 2]]


def test_without_triton_or_a_gpu_the_products_are_scanned_by_torch(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert not fused_search.usable("cpu")
    rows = unit(np.random.default_rng(5), 400, 32).astype(np.float16)
    queries = unit(np.random.default_rng(6), 6, 32)
    index = TorchIndex(rows)
    assert not index.fused and not index.rescores_on_device
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(fused_search.importlib.util, "find_spec", lambda name: None)
    assert not fused_search.usable("cuda:0") and not fused_search.usable("cpu")
    products = queries.astype(np.float64) @ rows.astype(np.float64).T
    assert [r.positions for r in rank(index, queries, 3)] == [
        [int(n) for n in np.argsort(-row, kind="stable")[:3]] for row in products
    ]


def test_fewer_rows_than_asked_for_have_no_position(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    index = TorchIndex(unit(np.random.default_rng(7), 3, 8).astype(np.float16), devices=["cpu", "cpu"])
    products, positions = index.search(unit(np.random.default_rng(8), 2, 8), 5)
    assert sorted(positions[0, :3].tolist()) == [0, 1, 2] and (positions[:, 3:] == -1).all()
    assert np.isneginf(products[:, 3:]).all()


@pytest.mark.parametrize(("count", "devices"), [(10, 1), (10, 3), (2, 4), (21_015_324, 8), (0, 2)])
def test_rows_are_split_evenly_and_wholly(count, devices):
    parts = shards.bounds(count, devices)
    assert [row for start, end in parts[:20] for row in (start, end)][:1] == ([0] if count else [])
    assert sum(end - start for start, end in parts) == count
    assert all(first[1] == second[0] for first, second in itertools.pairwise(parts))
    sizes = [end - start for start, end in parts]
    assert not sizes or (max(sizes) - min(sizes) <= 1 and len(sizes) == min(count, devices))


def test_candidates_of_all_devices_become_one_list():
    first = (np.array([[0.5, 0.2]], np.float32), np.array([[7, 2]]))
    second = (np.array([[0.9, 0.5]], np.float32), np.array([[11, 10]]))
    _, positions = shards.merged([first, second], 6)
    assert positions.tolist() == [[11, 7, 10, 2, -1, -1]]
    assert shards.merged([second, first], 6)[1].tolist() == positions.tolist()
    assert shards.merged([first, second], 2)[1].tolist() == [[11, 7]]
