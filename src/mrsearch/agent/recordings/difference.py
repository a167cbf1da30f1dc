"""Where a record and its rendering part, and what the records of a file share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

SHOWN = 60
"""Characters of either side that a difference shows."""
THE_END = "(the end)"
"""Stands for text where the protocol sends nothing more."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where a record and its rendering part."""

    where: str
    """prompt, response or pred."""
    offset: int
    expected: str
    """What the protocol says, from there on."""
    recorded: str
    key: str
    """The key of the protocol that likely causes it."""


@dataclass(frozen=True, slots=True)
class Habits:
    """What all records of a file have in common."""

    after_observation: str = ""
    """White space behind every observation."""
    space_inside: bool = False
    """Whether white space stands behind the last passage of any observation, before its closing tag."""
    after_hint: str = ""
    wrapped: bool | None = None
    """Whether most prompts stand inside a chat template; None where no prompt is recorded."""
    passages: int = 0
    """The most passages of one search."""
    cut_turns: frozenset[int] = field(default_factory=frozenset)
    """Token counts at which several generations end without a closing tag."""
    marks_ends: bool = False
    """Whether the token that ends a turn is recorded, so that a generation without it was cut."""
    budgets: tuple[tuple[str, int], ...] = ()
    """Each budget's key with the largest count of tokens in the file, where a tokenizer is at hand: what the budget
    would be if something was cut there."""


def first_difference(expected: str, recorded: str) -> int:
    """The first character at which two texts differ: the shorter one's length where one begins with the other."""
    pairs = zip(expected, recorded, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(expected), len(recorded)))


def common_prefix(texts: Sequence[str]) -> str:
    """The longest text that all begin with; empty where there is none."""
    first, last = min(texts, default=""), max(texts, default="")
    return first[: first_difference(first, last)]
