"""Tokens and log-probabilities of a frame's records, one record after the other, as arrays beside the records' lines.

As text they would be most of a line, and most of the time that it takes to write one. Token ids are split in halves
of 16 bits, the lower ones first, since the upper ones are nearly always equal and take no room then.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

HALF = np.dtype("<u2")
FLOAT = np.dtype("<f4")
HALF_BITS = 16


class WrittenArrays:
    """The arrays of a frame that is being written."""

    def __init__(self) -> None:
        self._tokens: list[NDArray[np.uint32]] = []
        self._logprobs: list[NDArray[np.float32]] = []

    def add_tokens(self, token_ids: Sequence[int]) -> NDArray[np.uint32]:
        """The ids as an array, shape (T,), after they were added."""
        array = np.frombuffer(struct.pack(f"={len(token_ids)}I", *token_ids), np.uint32)
        self._tokens.append(array)
        return array

    def add_logprobs(self, logprobs: NDArray[np.float32]) -> int:
        """How many were added."""
        self._logprobs.append(logprobs)
        return len(logprobs)

    def counts(self) -> dict[str, int]:
        """Of all records together."""
        return {"tokens": sum(map(len, self._tokens)), "logprobs": sum(map(len, self._logprobs))}

    def content(self) -> bytes:
        """Lower halves of all ids, upper halves, log-probabilities."""
        token_ids = np.concatenate(self._tokens) if self._tokens else np.zeros(0, np.uint32)
        halves = token_ids.astype(HALF).tobytes() + (token_ids >> HALF_BITS).astype(HALF).tobytes()
        return halves + b"".join(logprobs.astype(FLOAT).tobytes() for logprobs in self._logprobs)


class ReadArrays:
    """The arrays of a frame that is being read; its records take theirs in order."""

    def __init__(self, content: bytes, counts: Mapping[str, Any]) -> None:
        """ValueError where `content` has another length than `counts`, those of the writer, say."""
        tokens, logprobs = int(counts["tokens"]), int(counts["logprobs"])
        size = 2 * tokens * HALF.itemsize
        if min(tokens, logprobs) < 0 or len(content) != size + logprobs * FLOAT.itemsize:
            raise ValueError(f"{len(content)} bytes for {tokens} tokens and {logprobs} log-probabilities")
        lower, upper = np.frombuffer(content, HALF, 2 * tokens).astype(np.uint32).reshape(2, tokens)
        self._tokens: NDArray[np.uint32] = lower | (upper << np.uint32(HALF_BITS))
        self._logprobs: NDArray[np.float32] = np.frombuffer(content, FLOAT, logprobs, size)

    def take_tokens(self, count: int) -> NDArray[np.uint32]:
        """The ids of the next record, shape (count,)."""
        token_ids, self._tokens = _split(self._tokens, count, "tokens")
        return token_ids

    def take_logprobs(self, count: int) -> NDArray[np.float32]:
        """The log-probabilities of the next record, shape (count,)."""
        logprobs, self._logprobs = _split(self._logprobs, count, "log-probabilities")
        return logprobs

    def check_all_taken(self) -> None:
        """ValueError where something is left over."""
        if len(self._tokens) or len(self._logprobs):
            raise ValueError(
                f"{len(self._tokens)} tokens and {len(self._logprobs)} log-probabilities belong to nothing"
            )


def _split(array: NDArray[Any], count: int, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    if not 0 <= count <= len(array):
        raise ValueError(f"says {count} {name}, and {len(array)} are left")
    return array[:count], array[count:]
