"""Texts in which there is something to see, and what of a text may reach a terminal."""

from __future__ import annotations

import unicodedata

UNSEEN = {"Zs", "Zl", "Zp", "Cc", "Cf", "Cs"}
"""Unicode's categories of separators, controls, formats and surrogates."""
JOINERS = "\u200c\u200d"
"""Formats that Persian, Indian scripts and emoji are written with; they move nothing."""


def is_blank(text: str) -> bool:
    """Whether nothing of the text can be seen: white space, controls and zero-width signs alone."""
    return all(unicodedata.category(character) in UNSEEN for character in text)


def printable(text: str) -> str:
    """The text with an escape such as `\\x1b` in place of each character that could steer a terminal or turn the order
    of what is read: controls, formats, lone surrogates, and separators of lines and paragraphs.

    Line feeds stay, carriage returns before them go, tabs become spaces.
    """
    plain = text.replace("\r\n", "\n").replace("\t", "    ")
    return "".join(character if _harmless(character) else _escape(character) for character in plain)


def _harmless(character: str) -> bool:
    category = unicodedata.category(character)
    return category == "Zs" or category not in UNSEEN or character == "\n" or character in JOINERS


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
