"""Rankings that were searched for already, bounded in number and in bytes."""

from __future__ import annotations

import sys
from typing import NamedTuple

from cachetools import LRUCache

from mrsearch.retrieval.indexes.ranking import Ranking

ENTRY_BYTES = 800
"""What an entry takes beside its text and its hits: tuples, lists, and its places in the cache's tables."""
HIT_BYTES = 80
"""A position and a score, and their places in lists."""


class Ask(NamedTuple):
    """One question to the index."""

    query: str
    topk: int


class RankingCache:
    """Forgets what was used least recently once there are more than `entries` rankings or `max_bytes`."""

    def __init__(self, entries: int, max_bytes: int) -> None:
        self._entries, self._max_bytes = entries, max_bytes
        self._rankings: LRUCache[Ask, Ranking] = LRUCache(max(entries, 1))
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._rankings)

    @property
    def bytes(self) -> int:
        """Estimated memory of all entries."""
        return self._bytes

    def get(self, ask: Ask) -> Ranking | None:
        """The ranking, if it is known."""
        return self._rankings.get(ask)

    def put(self, ask: Ask, ranking: Ranking) -> None:
        """Remember a ranking, unless it alone is too large."""
        size = _size(ask, ranking)
        if not self._entries or size > self._max_bytes:
            return
        self.drop(ask)
        while self._rankings and (len(self._rankings) >= self._entries or self._bytes + size > self._max_bytes):
            self._bytes -= _size(*self._rankings.popitem())
        self._rankings[ask] = ranking
        self._bytes += size

    def drop(self, ask: Ask) -> None:
        """Forget a ranking."""
        if (ranking := self._rankings.pop(ask, None)) is not None:
            self._bytes -= _size(ask, ranking)


def _size(ask: Ask, ranking: Ranking) -> int:
    return ENTRY_BYTES + sys.getsizeof(ask.query) + HIT_BYTES * len(ranking.positions)
