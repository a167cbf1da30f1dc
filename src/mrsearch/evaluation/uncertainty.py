"""How far an estimate may lie from the truth when chance has two sources: many questions and few training seeds.

The error is sqrt(1 - share) Z + sqrt(share) T in units of the estimate's standard error, with Z standard normal
(chance over questions), T Student's t with S - 1 degrees of freedom (spread between S seeds) and `share` the seeds'
share of the variance: the Behrens-Fisher distribution with one side known. Questions and seeds are both random
factors, as items and subjects are in Clark, "The language-as-fixed-effect fallacy" (1973). With one seed the error is
normal.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Array = NDArray[np.float64]
NODES = 128
"""Points of the quadrature over the seeds' spread: p-values to nine digits."""
SHARES = 513
"""Shares between which critical values are interpolated: to four digits."""


def tail(error_K: Array, share_K: Array, freedom: int) -> Array:
    """P(|error| >= error_K) for errors in units of the standard error; `freedom` is the number of seeds minus 1."""
    if freedom < 1:
        return np.asarray(2.0 * special.ndtr(-np.abs(error_K)))
    chi_N, weights_N = _chi(freedom)
    # Given the seeds' sample spread chi / sqrt(freedom), the error is normal.
    wide_KN = (1.0 - share_K[..., None]) * chi_N**2 + share_K[..., None] * freedom
    inside_KN = np.abs(error_K)[..., None] * chi_N / np.sqrt(wide_KN)
    return np.asarray(np.clip(2.0 * special.ndtr(-inside_KN) @ weights_N, 0.0, 1.0))


def critical(confidence: float, share_K: Array, freedom: int) -> Array:
    """The error that is exceeded with probability 1 - confidence, in units of the standard error."""
    if freedom < 1:
        return np.full_like(share_K, stats.norm.ppf((1.0 + confidence) / 2))
    roots_N, values_N = _critical_values(confidence, freedom)
    return np.asarray(np.interp(np.sqrt(share_K), roots_N, values_N))


@lru_cache(maxsize=32)
def _chi(freedom: int) -> tuple[Array, Array]:
    """Nodes and weights of the chi distribution, whose square is chi-squared with `freedom` degrees of freedom."""
    nodes_N, weights_N = np.polynomial.legendre.leggauss(NODES)
    end = np.sqrt(freedom) + 9.0
    chi_N = (nodes_N + 1.0) * end / 2
    weights_N = weights_N * stats.chi.pdf(chi_N, freedom)
    return chi_N, weights_N / weights_N.sum()


@lru_cache(maxsize=32)
def _critical_values(confidence: float, freedom: int) -> tuple[Array, Array]:
    """Square roots of shares from 0 to 1, and their critical values by bisection."""
    roots_N = np.linspace(0.0, 1.0, SHARES)
    low_N = np.zeros(SHARES)
    high_N = np.full(SHARES, 2.0 * stats.t.ppf((1.0 + confidence) / 2, freedom))
    for _ in range(60):
        middle_N = (low_N + high_N) / 2
        outside_N = tail(middle_N, roots_N**2, freedom) > 1.0 - confidence
        low_N, high_N = np.where(outside_N, middle_N, low_N), np.where(outside_N, high_N, middle_N)
    return roots_N, (low_N + high_N) / 2
