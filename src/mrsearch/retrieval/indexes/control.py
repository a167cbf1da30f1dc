"""Searchers for controlled experiments: nothing, chance, and noise over another searcher. All are functions of seed and
query, whoever asks and however often."""

from __future__ import annotations

import random

from mrsearch.retrieval.indexes.ranking import Ranking, Searcher


class EmptySearcher:
    """Finds nothing."""

    def search(self, queries: list[str], topk: int) -> list[Ranking]:
        return [Ranking([], []) for _ in queries]


class RandomSearcher:
    """Draws each query's passages without repetition; the score of a rank n, counted from 1, is 1 / n."""

    def __init__(self, passages: int, seed: int) -> None:
        self._passages = passages
        self._seed = seed

    def search(self, queries: list[str], topk: int) -> list[Ranking]:
        return [self.drawn(query, topk) for query in queries]

    def drawn(self, query: str, count: int, without: frozenset[int] = frozenset()) -> Ranking:
        """So many passages, or as many as there are; those in `without` come last."""
        most = min(count + len(without), self._passages)
        drawn = _random("passages", self._seed, query).sample(range(self._passages), most)
        positions = sorted(drawn, key=without.__contains__)[:count]
        return Ranking(positions, [1.0 / rank for rank in range(1, len(positions) + 1)])


class NoisySearcher:
    """Another searcher; the rankings of a share of the queries are replaced by as many random passages that it did not
    rank."""

    def __init__(self, searcher: Searcher, passages: int, share: float, seed: int) -> None:
        self._searcher = searcher
        self._noise = RandomSearcher(passages, seed)
        self._share = share
        self._seed = seed

    def search(self, queries: list[str], topk: int) -> list[Ranking]:
        rankings = self._searcher.search(queries, topk)
        return [self._replaced(query, ranking) for query, ranking in zip(queries, rankings, strict=True)]

    def _replaced(self, query: str, ranking: Ranking) -> Ranking:
        if _random("replaced", self._seed, query).random() >= self._share:
            return ranking
        return self._noise.drawn(query, len(ranking.positions), frozenset(ranking.positions))


def _random(purpose: str, seed: int, query: str) -> random.Random:
    """Random numbers of their own for purpose, seed and query, the same on every machine."""
    return random.Random(f"{purpose}\0{seed}\0{query}".encode("utf-8", "surrogatepass"))
