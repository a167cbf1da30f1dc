"""Random numbers that what they are for decides alone, whoever draws them, in whatever order and on every machine."""

from __future__ import annotations

import random


def seeded_draws(*names: object) -> random.Random:
    """Random numbers of their own for a purpose, a seed and texts such as a query or an id."""
    return random.Random("\0".join(map(str, names)).encode("utf-8", "surrogatepass"))
