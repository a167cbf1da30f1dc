"""Texts from outside, put into the protocol's own so that they cannot write control tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from itertools import pairwise
from typing import TYPE_CHECKING

from mrsearch.config.wording import Tags

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class Origin(IntEnum):
    """Who wrote a piece of text."""

    protocol = 0
    """The study: it may write every token."""
    outside = 1
    """A question, passage or gold answer: it may write no added token."""
    policy = 2
    """The policy: it may write the protocol's tags, and no other added token."""
    composed = 3
    """Text made here already: what stands inside it is left alone."""


Piece = tuple[str, Origin]


class ControlTokens:
    """Every added token of a tokenizer, whatever its role, and how text is kept from writing one.

    Added tokens of white space alone stand for themselves and are no control tokens; nor are single characters, which
    cannot be taken apart.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, tags: Tags) -> None:
        added = {str(token) for token in tokenizer.added_tokens_decoder.values()} | set(tokenizer.all_special_tokens)
        controls = sorted((token for token in added if len(token.strip()) > 1), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, controls)) or r"(?!)")
        self._tags = frozenset(tags.texts)
        entries = tokenizer.added_tokens_decoder.items()
        self._normalized = {number for number, token in entries if token.normalized and len(str(token).strip()) > 1}
        """Ids of control tokens that are looked for in normalised text, which other characters may become."""
        self._backend = tokenizer.backend_tokenizer if self._normalized else None

    def compose(self, pieces: Iterable[Piece]) -> str:
        """The joined text, with a space inside each control token that a piece from elsewhere has a share in.

        Tokens that only come about by joining count; text that is no control token stays as it is.
        """
        filled = [piece for piece in pieces if piece[0]]
        text = "".join(words for words, _ in filled)
        if not self._spans(text):
            return text
        origins = b"".join(bytes([origin]) * len(words) for words, origin in filled)
        while breaks := [
            start + 1 for start, end in self._spans(text) if self._forged(text[start:end], origins[start:end])
        ]:
            text = _spaced(text, breaks)
            origins = bytes(_spaced(origins.decode("latin-1"), breaks, "\1"), "latin-1")
        return text

    def _breaks(self, text: str, origins: bytes) -> list[int]:
        """Where a space takes a forged token apart."""
        spans = self._spans(text)
        return [start + 1 for start, end in spans if self._forged(text[start:end], origins[start:end])]

    def _spans(self, text: str) -> list[tuple[int, int]]:
        """Where control tokens stand in the text, ends excluded, in order."""
        spans = {match.span() for match in self._pattern.finditer(text)}
        if self._backend is not None and self._backend.normalizer is not None:
            encoding = self._backend.encode(text, add_special_tokens=False)
            tokens = zip(encoding.ids, encoding.offsets, strict=True)
            # A character that becomes a whole token cannot be taken apart.
            spans |= {(start, end) for number, (start, end) in tokens if number in self._normalized and end - start > 1}
        return sorted(spans)

    def _forged(self, token: str, origins: bytes) -> bool:
        shares = set(origins)
        if shares <= {Origin.protocol} or shares == {Origin.composed}:
            return False
        return shares != {Origin.policy} or token not in self._tags


def split_template(template: str, values: Mapping[str, Sequence[Piece]]) -> list[Piece]:
    """The pieces of `template` with each `{name}` replaced in one pass, so that all other braces stay as they are."""
    pattern = "|".join(rf"\{{{name}\}}" for name in values)
    pieces: list[Piece] = []
    end = 0
    for field in re.finditer(pattern, template):
        pieces += [(template[end : field.start()], Origin.protocol), *values[field[0][1:-1]]]
        end = field.end()
    return [*pieces, (template[end:], Origin.protocol)]


def _spaced(text: str, breaks: Sequence[int], space: str = " ") -> str:
    bounds = [0, *breaks, len(text)]
    return space.join(text[first:last] for first, last in pairwise(bounds))
