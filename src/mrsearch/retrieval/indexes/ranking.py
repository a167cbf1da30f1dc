"""Rankings, and how candidates of a vector index become one, independent of the batch they were found in."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

ERROR_FLOOR = 1e-6
"""Error of a float32 scan over unit vectors."""
ERROR_FACTOR = 4.0
"""Scan errors of passages that were not seen are taken to be at most this many times the largest one that was."""
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
    """Whether `search` scores every vector, if only with rounded arithmetic."""
    margin: int
    """Candidates to fetch beyond topk at first."""

    def search(self, queries_QD: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores [Q, k], best first, and positions [Q, k]; -1 where there are fewer than k."""
        ...

    def rescored(self, queries_QD: np.ndarray, positions_QK: np.ndarray) -> np.ndarray:
        """float64 [Q, K]: products of each query with the stored vectors at its positions, -inf where one is -1.

        A product depends on query and vector alone.
        """
        ...


def rescored_from(rows_ND: np.ndarray, queries_QD: np.ndarray, positions_QK: np.ndarray) -> np.ndarray:
    """`VectorIndex.rescored` from an array of the stored vectors, which may lie in a file: it is read in its order."""
    scores_QK = np.full(positions_QK.shape, -np.inf)
    for query, positions, scores in zip(queries_QD, positions_QK, scores_QK, strict=True):
        columns = np.argsort(positions)
        columns = columns[positions[columns] >= 0]
        vectors = rows_ND[positions[columns]].astype(np.float32).astype(np.float64)
        scores[columns] = np.einsum("nd,d->n", vectors, query.astype(np.float64))
    return scores_QK


def rank(index: VectorIndex, queries_QD: np.ndarray, topk: int) -> list[Ranking]:
    """The topk of every query: candidates from the index, scored again in float64, ties broken by position.

    A scan rounds, and differently for batches of different sizes. Candidates therefore reach past topk until the last
    one is certain to be worse than the topk-th, given the rounding seen, and each is scored by itself in a fixed order:
    the result of an exact index depends on query and corpus alone. Only positive scores are hits.
    """
    topk_in_index = min(topk, index.count)
    rankings = [Ranking([], [])] * len(queries_QD)
    rows, k = np.flatnonzero(np.any(queries_QD, axis=1)), min(topk_in_index + index.margin, index.count)
    while len(rows):
        widest = not index.exact or k >= min(index.count, MOST_CANDIDATES)
        scans_QK, positions_QK = index.search(queries_QD[rows], k)
        scores_QK = index.rescored(queries_QD[rows], positions_QK)
        best, sure_Q = _ranked(scans_QK, scores_QK, positions_QK, topk_in_index)
        for row, ranking in zip(rows, best, strict=True):
            rankings[row] = ranking
        rows = rows[:0] if widest else rows[~sure_Q]
        k = min(4 * k, index.count, MOST_CANDIDATES)
    return rankings


def _ranked(
    scans_QK: np.ndarray, scores_QK: np.ndarray, positions_QK: np.ndarray, topk: int
) -> tuple[list[Ranking], np.ndarray]:
    """Rankings of Q queries by the float64 scores of their candidates, and bool [Q]: whether no other passage can
    belong into one."""
    filled_QK = positions_QK >= 0
    by_position = np.argsort(np.where(filled_QK, positions_QK, np.iinfo(np.int64).max), axis=1, kind="stable")
    scans_QK, scores_QK, positions_QK, filled_QK = (
        np.take_along_axis(column, by_position, axis=1) for column in (scans_QK, scores_QK, positions_QK, filled_QK)
    )
    scores_QK = np.where(filled_QK, scores_QK, -np.inf)
    order_Qk = np.argsort(-scores_QK, axis=1, kind="stable")[:, :topk]
    best_Qk = np.take_along_axis(scores_QK, order_Qk, axis=1)
    errors_QK = np.abs(np.subtract(scores_QK, scans_QK, out=np.zeros_like(scores_QK), where=filled_QK))
    errors_Q = np.maximum(ERROR_FLOOR, ERROR_FACTOR * errors_QK.max(axis=1, initial=0.0))
    worst_Q = np.where(filled_QK, scans_QK, np.inf).min(axis=1, initial=np.inf)
    sure_Q = (filled_QK.sum(axis=1) >= topk) & (worst_Q + errors_Q < best_Qk[:, -1])
    hits_Q = (best_Qk > 0.0).sum(axis=1).tolist()
    positions = np.take_along_axis(positions_QK, order_Qk, axis=1).tolist()
    ranked = zip(positions, best_Qk.tolist(), hits_Q, strict=True)
    return [Ranking(row[:hits], scores[:hits]) for row, scores, hits in ranked], sure_Q
