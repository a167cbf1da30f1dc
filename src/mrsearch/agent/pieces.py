"""What each token of a vocabulary stands for, so that texts need not be written beside the tokens that say the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

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


class Pieces:
    """The bytes of tokens."""

    def __init__(self, token_ids: Sequence[int], pieces: Sequence[bytes]) -> None:
        self._pieces: list[bytes | None] = [None] * (max(token_ids, default=-1) + 1)
        for token, piece in zip(token_ids, pieces, strict=True):
            self._pieces[token] = piece

    def bytes_of(self, token_ids: Iterable[int]) -> list[bytes]:
        """The piece of each token; ValueError for one that has none."""
        try:
            pieces = list(map(self._pieces.__getitem__, token_ids))
        except IndexError:
            pieces = [None]
        if None in pieces:
            raise ValueError("a token has no piece")
        return cast("list[bytes]", pieces)


class TokenTexts:
    """The texts of one sequence of tokens."""

    def __init__(self, pieces: Pieces, token_ids: Iterable[int]) -> None:
        self._bytes = pieces.bytes_of(token_ids)

    def text(self, start: int, end: int) -> str:
        """The text of some of the tokens; broken characters become U+FFFD."""
        return b"".join(self._bytes[start:end]).decode("utf-8", "replace")


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
        self._used: set[int] = set()

    def texts(self, token_ids: Sequence[int]) -> TokenTexts | None:
        """The texts of tokens, or None where one has no piece."""
        try:
            texts = TokenTexts(self._pieces, token_ids)
        except ValueError:
            return None
        self._used.update(token_ids)
        return texts

    def content(self) -> dict[str, list[int] | list[str]]:
        """Ids of the used tokens in ascending order, and their pieces, each byte as the character of its number."""
        token_ids = sorted(self._used)
        return {"token_ids": token_ids, "pieces": [str(piece, "latin-1") for piece in self._pieces.bytes_of(token_ids)]}


def read_pieces(content: Mapping[str, Any]) -> Pieces:
    """What `UsedPieces.content` gave."""
    return Pieces(content["token_ids"], [str(piece).encode("latin-1") for piece in content["pieces"]])


def _piece(name: str, added: bool) -> bytes:
    if added or not BYTE_LETTERS.keys() >= set(name):
        return name.encode()
    return bytes(map(BYTE_LETTERS.__getitem__, name))
