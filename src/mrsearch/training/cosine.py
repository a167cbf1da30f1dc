"""The decay of a learning rate."""

from __future__ import annotations

import math


def half_cosine(share: float, lowest: float) -> float:
    """From 1 to `lowest` along half a cosine, after a share of the way between 0 and 1."""
    return lowest + (1 - lowest) * 0.5 * (1 + math.cos(math.pi * share))
