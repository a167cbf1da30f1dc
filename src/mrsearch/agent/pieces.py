"""What each token of a vocabulary stands for, so that texts need not be written beside the tokens that say the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def _byte_letters() -> dict[str, int]:
    """The byte of each letter in a byte-level vocabulary: printable bytes are their own letter, the others are counted
    from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    shifted = [byte for byte in range(0x100) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + index): byte for index, byte in enumerate(shifted)}


BYTE_LETTERS = _byte_letters()
"""Byte by letter."""
MOST_TOKENS = 1 << 24
"""Of a vocabulary; the largest published ones have a sixtieth of that."""
TokenIds = NDArray[np.uint32] | NDArray[np.int64]
"""Of a sequence, shape (T,)."""


class Pieces:
    """The bytes of tokens, one after the other, and where each token's are."""

    def __init__(self, token_ids: Sequence[int], pieces: Sequence[bytes]) -> None:
        """ValueError for ids that are no tokens', or where there are more or fewer than pieces."""
        ids = np.asarray(token_ids, dtype=np.int64)
        if len(ids) != len(pieces) or (len(ids) and not 0 <= ids.min() <= ids.max() < MOST_TOKENS):
            raise ValueError(f"{len(pieces)} pieces for {len(ids)} ids from 0 to {MOST_TOKENS}")
        lengths = np.fromiter(map(len, pieces), np.int32, len(pieces))
        self._bytes = np.frombuffer(b"".join(pieces), np.uint8)
        self._lengths = np.full(int(ids.max(initial=-1)) + 1, -1, np.int32)
        self._firsts = np.zeros(len(self._lengths), np.int32)
        self._lengths[ids], self._firsts[ids] = lengths, np.cumsum(lengths) - lengths
        self._counting = np.arange(0, dtype=np.int32)

    def __len__(self) -> int:
        """One more than the largest id."""
        return len(self._lengths)

    def bytes_of(self, token_ids: TokenIds) -> tuple[bytes, NDArray[np.int32]]:
        """The pieces one after the other, and where each of them ends; ValueError for a token that has none."""
        ids = token_ids.astype(np.intp)
        if len(ids) and not 0 <= ids.min() <= ids.max() < len(self):
            raise ValueError("a token has no piece")
        lengths = self._lengths.take(ids)
        if lengths.min(initial=0) < 0:
            raise ValueError("a token has no piece")
        ends = lengths.cumsum(dtype=np.int32)
        positions: NDArray[np.int32] = np.repeat(self._firsts.take(ids) - (ends - lengths), lengths)
        positions += self._count_to(len(positions))
        return self._bytes.take(positions).tobytes(), ends

    def _count_to(self, count: int) -> NDArray[np.int32]:
        """0, 1, ..., count - 1; kept for the next call, since counting takes as long as all the rest."""
        if count > len(self._counting):
            self._counting = np.arange(2 * count, dtype=np.int32)
        return self._counting[:count]


class TokenTexts:
    """The texts of one sequence of tokens."""

    def __init__(self, pieces: Pieces, token_ids: TokenIds) -> None:
        self._bytes, self._ends = pieces.bytes_of(token_ids)

    def text(self, start: int, end: int) -> str:
        """The text of some of the tokens; broken characters become U+FFFD."""
        return self._bytes[self._border(start) : self._border(end)].decode("utf-8", "replace")

    def _border(self, token: int) -> int:
        """The first byte of a token; behind the last one, the end."""
        return int(self._ends[min(token, len(self._ends)) - 1]) if token and len(self._ends) else 0


def vocabulary_pieces(tokenizer: PreTrainedTokenizerFast) -> Pieces | None:
    """The bytes of every token of a byte-level vocabulary, as Qwen's and Llama 3's are. None for others, where a text
    is more than its tokens one after the other."""
    decoder = tokenizer.backend_tokenizer.decoder
    if decoder is None or b'"ByteLevel"' not in decoder.__getstate__():
        return None
    added = frozenset(tokenizer.added_tokens_decoder)
    names = {token: name for name, token in tokenizer.get_vocab().items()}
    token_ids = sorted(names)
    return Pieces(token_ids, [_piece(names[token], token in added) for token in token_ids])


class UsedPieces:
    """Pieces of a vocabulary, and which of them were used."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._used = np.zeros(len(pieces), np.bool_)

    def texts(self, token_ids: TokenIds) -> TokenTexts | None:
        """The texts of tokens, or None where one has no piece."""
        try:
            texts = TokenTexts(self._pieces, token_ids)
        except ValueError:
            return None
        self._used[token_ids] = True
        return texts

    def content(self) -> dict[str, list[int] | list[str]]:
        """Ids of the used tokens in ascending order, and their pieces, each byte as the character of its number."""
        token_ids = np.flatnonzero(self._used)
        content, ends = self._pieces.bytes_of(token_ids)
        pieces = [str(content[first:end], "latin-1") for first, end in pairwise([0, *ends.tolist()])]
        return {"token_ids": token_ids.tolist(), "pieces": pieces}


def read_pieces(content: Mapping[str, Any]) -> Pieces:
    """What `UsedPieces.content` gave."""
    return Pieces(content["token_ids"], [str(piece).encode("latin-1") for piece in content["pieces"]])


def _piece(name: str, added: bool) -> bytes:
    if added or not BYTE_LETTERS.keys() >= set(name):
        return name.encode()
    return bytes(map(BYTE_LETTERS.__getitem__, name))
