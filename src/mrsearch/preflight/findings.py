"""What a preflight found: problems, and what could not be checked from where it ran."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class Unchecked(str):
    """A sentence about what was not checked, why, and how to check it; every other string of a check is a problem."""


@dataclass(frozen=True, slots=True)
class Findings:
    """One sentence each."""

    problems: list[str]
    """What would stop the run."""
    unchecked: list[str]
    """What may stop it, for all that can be seen from here."""

    @classmethod
    def of(cls, sentences: Iterable[str]) -> Findings:
        """Sorted apart, each once."""
        unique = list(dict.fromkeys(sentences))
        return cls(
            [sentence for sentence in unique if not isinstance(sentence, Unchecked)],
            [str(sentence) for sentence in unique if isinstance(sentence, Unchecked)],
        )
