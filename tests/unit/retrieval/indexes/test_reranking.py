"""A cross-encoder's order over another searcher's passages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mrsearch.agent.ports import Passage
from mrsearch.config.derived_retrievers import RerankedRetriever
from mrsearch.retrieval.indexes.passages import PassageStore, build_store
from mrsearch.retrieval.indexes.ranking import Ranking
from mrsearch.retrieval.indexes.reranking import RerankedSearcher, load_scorer


class Ordered:
    """Finds the first passages."""

    def search(self, queries: list[str], topk: int) -> list[Ranking]:
        return [
            Ranking(list(range(min(topk, 6))), [1.0] * min(topk, 6)) if query else Ranking([], []) for query in queries
        ]


def by_title(query: str, passages: Sequence[Passage]) -> np.ndarray:
    return np.array([float(passage.title in query) for passage in passages])


def test_the_best_of_the_first_passages_come_first_and_equal_ones_keep_their_order(tmp_path: Path) -> None:
    build_store(((f"p{n}", f"T{n}", "text") for n in range(6)), tmp_path / "corpus")
    searcher = RerankedSearcher(Ordered(), PassageStore(tmp_path / "corpus"), by_title, depth=4)
    assert searcher.search(["T3 and T1", "T5", ""], 2) == [
        Ranking([1, 3], [1.0, 1.0]),
        Ranking([0, 1], [0.0, 0.0]),  # the sixth lies below the depth
        Ranking([], []),
    ]
    assert searcher.search(["T5"], 6)[0].positions == [5, 0, 1, 2, 3, 4]


def test_what_is_no_folder_of_a_model_is_told_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no config.json; a repository of the hub needs a revision"):
        load_scorer(RerankedRetriever(of="dense", path=str(tmp_path / "nothing")))
