"""Retrievers for controlled experiments: what they find is decided by seed and query alone."""

from __future__ import annotations

from mrsearch.retrieval.indexes.control import EmptySearcher, NoisySearcher, RandomSearcher
from mrsearch.retrieval.indexes.ranking import Ranking

QUERIES = [f"query {n}" for n in range(200)]


class Ordered:
    """Finds the first passages."""

    def search(self, queries: list[str], topk: int) -> list[Ranking]:
        return [Ranking(list(range(topk)), [9.0] * topk) if query else Ranking([], []) for query in queries]


def test_an_empty_retriever_answers_every_query_with_nothing() -> None:
    assert EmptySearcher().search(["a", "b"], 3) == [Ranking([], []), Ranking([], [])]


def test_random_passages_depend_on_seed_and_query_alone() -> None:
    together = RandomSearcher(50, 0).search(QUERIES, 3)
    assert together == [RandomSearcher(50, 0).search([query], 3)[0] for query in QUERIES]
    assert all(len(set(positions)) == 3 and scores == [1.0, 1 / 2, 1 / 3] for positions, scores in together)
    assert {position for ranking in together for position in ranking.positions} == set(range(50))
    assert together != RandomSearcher(50, 1).search(QUERIES, 3)
    assert sorted(RandomSearcher(4, 0).search(["\udc80"], 9)[0].positions) == [0, 1, 2, 3]


def test_noise_replaces_its_share_of_the_searches_and_smaller_shares_lie_within() -> None:
    replaced = {}
    for share in (0.0, 0.3, 0.6, 1.0):
        rankings = NoisySearcher(Ordered(), 50, share, seed=0).search(QUERIES, 3)
        assert rankings[7] == NoisySearcher(Ordered(), 50, share, seed=0).search([QUERIES[7]], 3)[0]
        changed = {n for n, ranking in enumerate(rankings) if ranking.positions != [0, 1, 2]}
        assert all(not {0, 1, 2} & set(rankings[n].positions) and len(rankings[n].positions) == 3 for n in changed)
        replaced[share] = changed
    assert replaced[0.0] < replaced[0.3] < replaced[0.6] < replaced[1.0] == set(range(200))
    assert 40 < len(replaced[0.3]) < 80 and 100 < len(replaced[0.6]) < 140
    other = NoisySearcher(Ordered(), 50, 0.3, seed=1).search(QUERIES, 3)
    assert {n for n, ranking in enumerate(other) if ranking.positions != [0, 1, 2]} != replaced[0.3]


def test_noise_adds_no_passages_to_a_search_that_finds_few() -> None:
    assert NoisySearcher(Ordered(), 50, 1.0, seed=0).search([""], 3) == [Ranking([], [])]
    assert sorted(NoisySearcher(Ordered(), 3, 1.0, seed=0).search(["a"], 2)[0].positions)[-1] == 2
