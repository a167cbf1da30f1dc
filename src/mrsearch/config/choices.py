"""The names that a message offers in place of one that is not known."""

from __future__ import annotations

from collections.abc import Iterable


def choices(names: Iterable[str]) -> str:
    """ "known are", and the names in the order of the alphabet."""
    return f"known are {', '.join(sorted(names))}"
