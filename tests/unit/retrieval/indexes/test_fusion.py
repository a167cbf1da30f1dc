import pytest

from mrsearch.retrieval.indexes.fusion import FusedSearcher, fuse
from mrsearch.retrieval.indexes.ranking import Ranking


def ranking(*positions):
    return Ranking(list(positions), [1.0 / (n + 1) for n in range(len(positions))])


def test_worked_example():
    fused = fuse([ranking(7, 3, 5), ranking(3, 9)], k=60, topk=10)
    assert fused.positions == [3, 7, 9, 5]
    assert fused.scores == pytest.approx([1 / 62 + 1 / 61, 1 / 61, 1 / 62, 1 / 63])


def test_ties_go_by_position_and_topk_cuts():
    assert fuse([ranking(8), ranking(2)], k=60, topk=5).positions == [2, 8]
    assert fuse([ranking(8), ranking(2)], k=60, topk=1).positions == [2]
    assert fuse([ranking(), ranking()], k=60, topk=3) == ([], [])


class Listed:
    def __init__(self, answers):
        self.answers, self.asked = answers, []

    def search(self, queries, topk):
        self.asked.append(topk)
        return [ranking(*self.answers[query][:topk]) for query in queries]


def test_searchers_are_asked_to_the_depth_and_queries_keep_their_order():
    first, second = Listed({"a": [1, 2], "b": [3]}), Listed({"a": [2], "b": []})
    found = FusedSearcher([first, second], k=60, depth=50).search(["a", "b"], 2)
    assert [r.positions for r in found] == [[2, 1], [3]]
    assert first.asked == second.asked == [50]
