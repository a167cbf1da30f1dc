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

    def vectors(self, positions: np.ndarray) -> np.ndarray:
        """float32 [len(positions), D]: the stored vectors."""
        ...


def rank(index: VectorIndex, queries_QD: np.ndarray, topk: int) -> list[Ranking]:
    """The topk of every query: candidates from the index, scored again in float64, ties broken by position.

    A scan rounds, and differently for batches of different sizes. Candidates therefore reach past topk until the last
    one is certain to be worse than the topk-th, given the rounding seen, and each is scored by itself in a fixed order:
    the result of an exact index depends on query and corpus alone. Only positive scores are hits.
    """
    wanted = min(topk, index.count)
    rankings = [Ranking([], [])] * len(queries_QD)
    rows, k = np.flatnonzero(np.any(queries_QD, axis=1)), min(wanted + index.margin, index.count)
    while len(rows):
        widest = not index.exact or k >= min(index.count, MOST_CANDIDATES)
        unsure = []
        scans, found = index.search(queries_QD[rows], k)
        for row, scan, positions in zip(rows, scans, found, strict=True):
            known = positions >= 0
            rankings[row], sure = _rescore(index, queries_QD[row], scan[known], positions[known], wanted)
            if not (sure or widest):
                unsure.append(row)
        rows, k = np.array(unsure, dtype=np.int64), min(4 * k, index.count, MOST_CANDIDATES)
    return rankings


def _rescore(
    index: VectorIndex, query: np.ndarray, scan: np.ndarray, positions: np.ndarray, topk: int
) -> tuple[Ranking, bool]:
    """The ranking of the candidates, and whether no other passage can belong into it."""
    by_position = np.argsort(positions)
    positions, scan = positions[by_position], scan[by_position]
    scores = np.einsum("nd,d->n", index.vectors(positions).astype(np.float64), query.astype(np.float64))
    order = np.argsort(-scores, kind="stable")[:topk]
    sure = False
    if len(order) == topk:
        error = max(ERROR_FLOOR, ERROR_FACTOR * float(np.abs(scores - scan).max()))
        sure = float(scan.min()) + error < scores[order[-1]]
    order = order[scores[order] > 0.0]
    return Ranking(positions[order].tolist(), scores[order].tolist()), sure
