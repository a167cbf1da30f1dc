"""Rankings, and how candidates of a vector index become one, independent of the batch they were found in."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

TOLERANCE = 1e-4
"""Larger than the rounding error of a float32 scan over unit vectors."""
MOST_CANDIDATES = 2048
"""FAISS on a GPU returns no more."""


class Ranking(NamedTuple):
    """Positions of passages, best first, and their scores."""

    positions: list[int]
    scores: list[float]


class Searcher(Protocol):
    """Ranks passages for many queries at once; each ranking has at most topk hits and no negative position."""

    def search(self, queries: list[str], topk: int) -> list[Ranking]: ...


class VectorIndex(Protocol):
    """Inner-product search over N vectors of D numbers."""

    count: int
    exact: bool
    margin: int
    """Candidates to fetch beyond topk at first."""
    rounding: float
    """Largest error of a score that `search` returns for unit vectors, against `vectors`."""

    def search(self, queries_QD: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores [Q, k], best first, and positions [Q, k]; -1 where there are fewer than k."""
        ...

    def vectors(self, positions: np.ndarray) -> np.ndarray:
        """float32 [len(positions), D]: the stored vectors."""
        ...


def rank(index: VectorIndex, queries_QD: np.ndarray, topk: int) -> list[Ranking]:
    """The topk of every query: candidates from the index, scored again in float64, ties broken by position.

    A scan's float32 rounding depends on how many queries it takes at once. Candidates therefore reach past topk until
    the last one is worse than the topk-th by more than that rounding, and are scored one by one in a fixed order: the
    result of an exact index depends on query and corpus alone. Only positive scores are hits.
    """
    wanted = min(topk, index.count)
    rankings = [Ranking([], [])] * len(queries_QD)
    open_rows, k = np.flatnonzero(np.any(queries_QD, axis=1)), min(wanted + index.margin, index.count)
    while len(open_rows):
        scores, positions = index.search(queries_QD[open_rows], k)
        last = k >= min(index.count, MOST_CANDIDATES) or not index.exact
        tied = scores[:, wanted - 1] - scores[:, -1] <= max(TOLERANCE, 2 * index.rounding)
        tied &= (scores[:, wanted - 1] > TOLERANCE) & (not last)
        for row, found, is_open in zip(open_rows, positions, tied, strict=True):
            if not is_open:
                rankings[row] = _rescore(queries_QD[row], found[found >= 0], index.vectors, wanted)
        open_rows, k = open_rows[tied], min(4 * k, index.count, MOST_CANDIDATES)
    return rankings


def _rescore(query: np.ndarray, found: np.ndarray, vectors: Callable[[np.ndarray], np.ndarray], topk: int) -> Ranking:
    found = np.unique(found)
    scores = np.einsum("nd,d->n", vectors(found).astype(np.float64), query.astype(np.float64))
    order = np.argsort(-scores, kind="stable")[:topk]
    order = order[scores[order] > 0.0]
    return Ranking(found[order].tolist(), scores[order].tolist())
