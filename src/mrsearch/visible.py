"""Texts in which there is something to see."""

from __future__ import annotations

import unicodedata

UNSEEN = {"Zs", "Zl", "Zp", "Cc", "Cf", "Cs"}
"""Unicode's categories of separators, controls, formats and surrogates."""


def is_blank(text: str) -> bool:
    """Whether nothing of the text can be seen: white space, controls and zero-width signs alone."""
    return all(unicodedata.category(character) in UNSEEN for character in text)
