"""Searchers for controlled experiments: nothing, chance, and noise or gaps over another searcher. All are functions of
seed and query, whoever asks and however often."""

from __future__ import annotations

from collections.abc import Iterable

from mrsearch.agent.ports import Passage
from mrsearch.draws import seeded_draws
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
        drawn = seeded_draws("passages", self._seed, query).sample(range(self._passages), most)
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
        if seeded_draws("replaced", self._seed, query).random() >= self._share:
            return ranking
        return self._noise.drawn(query, len(ranking.positions), frozenset(ranking.positions))


class WithholdingSearcher:
    """Another searcher's rankings without the passages at some positions; those behind them move up."""

    def __init__(self, searcher: Searcher, withheld: frozenset[int]) -> None:
        self._searcher = searcher
        self._withheld = withheld

    def search(self, queries: list[str], topk: int) -> list[Ranking]:
        rankings = [Ranking([], [])] * len(queries)
        waiting, depth = list(range(len(queries))), topk
        while waiting:
            deeper = self._searcher.search([queries[index] for index in waiting], depth)
            for index, ranking in zip(waiting, deeper, strict=True):
                rankings[index] = self._remaining(ranking, topk)
            ended = {index for index, ranking in zip(waiting, deeper, strict=True) if len(ranking.positions) < depth}
            waiting = [n for n in waiting if n not in ended and len(rankings[n].positions) < topk]
            depth *= 2
        return rankings

    def _remaining(self, ranking: Ranking, topk: int) -> Ranking:
        hits = zip(ranking.positions, ranking.scores, strict=True)
        hits_left = [(position, score) for position, score in hits if position not in self._withheld][:topk]
        return Ranking([position for position, _ in hits_left], [score for _, score in hits_left])


def withheld_positions(passages: Iterable[Passage], title_word: str, share: float, seed: int) -> frozenset[int]:
    """Positions of a share of the passages that have the word in their title, drawn by seed and id."""
    titled = ((n, passage.id) for n, passage in enumerate(passages) if title_word in passage.title.split())
    return frozenset(n for n, identifier in titled if seeded_draws("withheld", seed, identifier).random() < share)
