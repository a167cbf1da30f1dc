"""Where a sequence of tokens can be cut without breaking a character."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from mrsearch.agent.pieces import BYTE_LETTERS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

LONGEST = 4
"""Bytes of a character in UTF-8, at most."""
_BYTE = re.compile(r"<0x[89AB][0-9A-F]>", re.IGNORECASE)
"""How a vocabulary with byte fallback writes the second to last bytes of a character."""
_LETTERS = frozenset(letter for letter, byte in BYTE_LETTERS.items() if 0x80 <= byte < 0xC0)
"""The letters for these bytes in a byte-level vocabulary."""


class CharacterBorders:
    """Tells borders of characters among those of tokens, for vocabularies that hold pieces of characters."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._backend = tokenizer.backend_tokenizer
        decoder = self._backend.decoder.__getstate__() if self._backend.decoder is not None else b""
        self._byte_level, self._fallback = b'"ByteLevel"' in decoder, b'"ByteFallback"' in decoder
        self._added = frozenset(tokenizer.added_tokens_decoder)
        self.continues = lru_cache(maxsize=None)(self._continues)

    def is_border(self, token_ids: Sequence[int], position: int) -> bool:
        """Whether no character lies on both sides of `position` (0..T)."""
        return not 0 < position < len(token_ids) or not self.continues(token_ids[position])

    def before(self, token_ids: Sequence[int], position: int) -> int:
        """The last border up to `position`. Bytes that are no text have none: there it is `position` itself."""
        return self._nearest(token_ids, position, -1)

    def after(self, token_ids: Sequence[int], position: int) -> int:
        """The first border from `position` on; as `before`."""
        return self._nearest(token_ids, position, 1)

    def _nearest(self, token_ids: Sequence[int], position: int, step: int) -> int:
        near = (position + step * distance for distance in range(LONGEST))
        return next((index for index in near if self.is_border(token_ids, index)), position)

    def _continues(self, token: int) -> bool:
        """Whether the token begins inside a character."""
        name = self._backend.id_to_token(token)
        if not name or token in self._added:
            return False
        return bool(self._byte_level and name[0] in _LETTERS) or bool(self._fallback and _BYTE.fullmatch(name))
