"""Rows split over devices: which rows each holds, and one list of candidates from all of them."""

from __future__ import annotations

import itertools

import numpy as np


def bounds(count: int, devices: int) -> list[tuple[int, int]]:
    """First row and row after the last of each device, in order and even to one row; devices without rows are left
    out."""
    edges = [count * n // devices for n in range(devices + 1)]
    return [(start, end) for start, end in itertools.pairwise(edges) if end > start]


def merged(candidates: list[tuple[np.ndarray, np.ndarray]], k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best of all candidates' scores [Q, k'] and positions [Q, k'], best first, equal scores by position.

    Both are [Q, k]; where there are fewer than k candidates, the rest has score -inf and position -1.
    """
    scores = np.concatenate([scores for scores, _ in candidates], axis=1)
    positions = np.concatenate([positions for _, positions in candidates], axis=1)
    order = np.lexsort((positions, -scores), axis=1)[:, :k]
    scores, positions = np.take_along_axis(scores, order, 1), np.take_along_axis(positions, order, 1)
    missing = ((0, 0), (0, k - scores.shape[1]))
    return (
        np.pad(scores, missing, constant_values=-np.inf),
        np.pad(positions, missing, constant_values=-1),
    )
