"""Reciprocal-rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from mrsearch.retrieval.indexes.ranking import Ranking, Searcher


class FusedSearcher:
    """Sums 1 / (k + rank) over the rankings of several searchers, `depth` hits each."""

    def __init__(self, searchers: Sequence[Searcher], k: int, depth: int) -> None:
        self._searchers = searchers
        self._k = k
        self._depth = depth

    def search(self, queries: list[str], topk: int) -> list[Ranking]:
        lists = [searcher.search(queries, max(topk, self._depth)) for searcher in self._searchers]
        return [fuse(rankings, self._k, topk) for rankings in zip(*lists, strict=True)]


def fuse(rankings: Sequence[Ranking], k: int, topk: int) -> Ranking:
    """The topk by summed reciprocal rank (ranks count from 1); ties by position."""
    scores: defaultdict[int, float] = defaultdict(float)
    for ranking in rankings:
        for rank, position in enumerate(ranking.positions, 1):
            scores[position] += 1.0 / (k + rank)
    best = sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:topk]
    return Ranking([position for position, _ in best], [score for _, score in best])
