"""What each token of a vocabulary stands for, so that texts need not be written beside the tokens that say the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

TokenArray = NDArray[np.int32]


def _byte_letters() -> dict[str, int]:
    """The byte of each letter in a byte-level vocabulary: printable bytes are their own letter, the others are counted
    from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    shifted = [byte for byte in range(0x100) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + index): byte for index, byte in enumerate(shifted)}


BYTE_LETTERS = _byte_letters()
"""Byte by letter."""


class Pieces:
    """The bytes of tokens, laid out so that the text of thousands is put together at once."""

    def __init__(self, token_ids: Sequence[int], pieces: Sequence[bytes]) -> None:
        self.size = size = max(token_ids, default=-1) + 1
        lengths = np.fromiter(map(len, pieces), np.int32, len(pieces))
        self._bytes = np.frombuffer(b"".join(pieces), np.uint8)
        # One more stands for every token that there is not.
        self._first, self._length = np.zeros(size + 1, np.int32), np.zeros(size + 1, np.int32)
        self._has_piece = np.zeros(size + 1, np.bool_)
        self._first[token_ids], self._length[token_ids] = np.cumsum(lengths) - lengths, lengths
        self._has_piece[token_ids] = True

    def joined(self, token_ids_T: TokenArray) -> tuple[bytes, TokenArray]:
        """(bytes of all tokens, borders [T + 1] of each among them); ValueError for a token without a piece."""
        token_ids_T = np.minimum(token_ids_T, len(self._has_piece) - 1)
        if not self._has_piece[token_ids_T].all():
            raise ValueError("a token has no piece")
        lengths_T = self._length[token_ids_T]
        borders_T = np.zeros(len(lengths_T) + 1, np.int32)
        np.cumsum(lengths_T, out=borders_T[1:])
        shifts_T = self._first[token_ids_T] - borders_T[:-1]
        positions = np.arange(borders_T[-1], dtype=np.int32) + np.repeat(shifts_T, lengths_T)
        return self._bytes[positions].tobytes(), borders_T

    def selected(self, token_ids: Sequence[int]) -> list[str]:
        """The pieces of some tokens, each byte as the character of its number."""
        content = self._bytes.tobytes().decode("latin-1")
        return [content[self._first[token] : self._first[token] + self._length[token]] for token in token_ids]


class TokenTexts:
    """The texts of one sequence of tokens."""

    def __init__(self, pieces: Pieces, token_ids_T: TokenArray) -> None:
        self._bytes, self._borders_T = pieces.joined(token_ids_T)

    def text(self, start: int, end: int) -> str:
        """The text of some of the tokens; broken characters become U+FFFD."""
        return self._bytes[self._borders_T[start] : self._borders_T[end]].decode("utf-8", "replace")


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
        self._pieces, self._used = pieces, np.zeros(pieces.size, np.bool_)

    def texts(self, token_ids_T: TokenArray) -> TokenTexts | None:
        """The texts of tokens, or None where one has no piece."""
        try:
            texts = TokenTexts(self._pieces, token_ids_T)
        except ValueError:
            return None
        self._used[token_ids_T] = True
        return texts

    def content(self) -> dict[str, list[int] | list[str]]:
        """Ids of the used tokens in ascending order, and their pieces, each byte as the character of its number."""
        token_ids = np.flatnonzero(self._used).tolist()
        return {"token_ids": token_ids, "pieces": self._pieces.selected(token_ids)}


def read_pieces(content: Mapping[str, Any]) -> Pieces:
    """What `UsedPieces.content` gave."""
    return Pieces(content["token_ids"], [str(piece).encode("latin-1") for piece in content["pieces"]])


def _piece(name: str, added: bool) -> bytes:
    if added or not BYTE_LETTERS.keys() >= set(name):
        return name.encode()
    return bytes(map(BYTE_LETTERS.__getitem__, name))
