"""What the rehearsal measures of the exact search is right, and reaches the projection."""

from __future__ import annotations

import json

import numpy as np

from mrsearch.rehearsal import search_rate
from mrsearch.retrieval.indexes.torch_index import TorchIndex


def test_random_rows_are_unit_vectors_and_always_the_same(monkeypatch):
    monkeypatch.setattr(search_rate, "MADE_AT_ONCE", 40)
    rows = search_rate.random_rows(100, 32, "cpu")
    assert np.allclose(np.linalg.norm(rows.float().numpy(), axis=1), 1.0, atol=2e-3)
    assert (rows == search_rate.random_rows(100, 32, "cpu")).all() and len(rows.unique(dim=0)) == 100
    queries = search_rate.random_queries(3, 32)
    true = np.argsort(-(queries.astype(np.float64) @ rows.double().numpy().T), axis=1)[:, :4]
    assert search_rate.best_by_float64(rows, queries, 4).tolist() == true.tolist()
    assert TorchIndex.over(rows).search(queries, 4)[1].shape == (3, 4)


def test_the_measurement_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(search_rate, "LEAST_SECONDS", 0.0)
    search_rate.main(1000, 3, 16, 200)
    facts = json.loads(capsys.readouterr().out)
    assert facts["rows"] == 200 and facts["right"] and set(facts["rates"]) == {"1", "64"}
