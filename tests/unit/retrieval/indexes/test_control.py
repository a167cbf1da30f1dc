"""Retrievers for controlled experiments: what they find is decided by seed and query alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.installed import install

from mrsearch.agent.ports import Passage
from mrsearch.config import load_run, load_study
from mrsearch.retrieval.indexes.control import (
    EmptySearcher,
    NoisySearcher,
    RandomSearcher,
    WithholdingSearcher,
    withheld_positions,
)
from mrsearch.retrieval.indexes.index import build_index, open_searcher
from mrsearch.retrieval.indexes.passages import PassageStore, build_store
from mrsearch.retrieval.indexes.ranking import Ranking

POINTS = "[mrsearch.retrievers]\nmarked = installed_kind:Marked\n"
INSTALLED = """
from pydantic import BaseModel
from mrsearch.retrieval.indexes.ranking import Ranking

class Settings(BaseModel):
    mark: str

class Marked:
    Settings, indexed = Settings, True
    def build(self, inputs):
        (inputs.folder / "mark").write_text(inputs.settings.mark)
        return {"marked": len(inputs.passages)}
    def open(self, inputs):
        assert (inputs.folder / "mark").read_text() == inputs.settings.mark
        self.member, self.last = inputs.members[0], len(inputs.passages) - 1
        return self
    def search(self, queries, topk):
        below = self.member.search(queries, topk - 1)
        return [Ranking([self.last, *hits.positions], [2.0, *hits.scores]) for hits in below]
"""
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


class Countdown:
    """Ranks nine passages from the last to the first; its scores are their positions."""

    def search(self, queries: list[str], topk: int) -> list[Ranking]:
        positions = list(range(8, -1, -1))[:topk]
        return [Ranking(positions, [float(position) for position in positions]) for _ in queries]


def test_passages_behind_withheld_ones_move_up() -> None:
    searcher = WithholdingSearcher(Countdown(), frozenset({8, 7, 5, 3}))
    assert searcher.search(["a", "b"], 2) == [Ranking([6, 4], [6.0, 4.0])] * 2
    assert searcher.search(["a"], 20) == [Ranking([6, 4, 2, 1, 0], [6.0, 4.0, 2.0, 1.0, 0.0])]
    assert WithholdingSearcher(Countdown(), frozenset(range(9))).search(["a"], 2) == [Ranking([], [])]


def test_a_share_of_the_passages_with_a_word_in_their_title_is_withheld() -> None:
    passages = [Passage(f"p{n}", "Ann rumour" if n % 2 else "Ann rumours", "rumour") for n in range(400)]
    withheld = {share: withheld_positions(passages, "rumour", share, seed=0) for share in (0.0, 0.3, 0.6, 1.0)}
    assert withheld[0.0] < withheld[0.3] < withheld[0.6] < withheld[1.0] == frozenset(range(1, 400, 2))
    assert 40 < len(withheld[0.3]) < 80
    assert withheld_positions(passages, "rumour", 0.3, seed=1) != withheld[0.3]


def test_an_installed_kind_is_built_opened_and_refused_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, tmp_path / "packages", "installed_kind", INSTALLED, POINTS)
    retriever = {"kind": "marked", "of": ["chance"], "settings": {"mark": "x"}}
    overrides: dict[str, Any] = {"retrieval.retrievers": {"chance": {"kind": "random"}, "mine": retriever}}
    overrides |= {"retrieval.use": "mine", "retrieval.compared": []}
    study = load_study(load_run({"study": "demo", "overrides": overrides}))
    assert study.indexed() == ("mine",) and study.reached("mine") == ("mine", "chance")
    build_store(((f"p{n}", f"T{n}", "text") for n in range(9)), tmp_path / "corpus")
    build_index(study, "mine", tmp_path / "corpus", tmp_path / "indexes" / "mine")
    store = PassageStore(tmp_path / "corpus")
    ranking = open_searcher(study, "mine", store, tmp_path / "indexes").search(["q"], 2)[0]
    assert ranking == Ranking([8, *RandomSearcher(9, 0).search(["q"], 1)[0].positions], [2.0, 1.0])
    changed = load_study(
        load_run({"study": "demo", "overrides": {**overrides, "retrieval.retrievers.mine.settings.mark": "y"}})
    )
    with pytest.raises(ValueError, match=r"mine.settings is .*'y'.*, but the index was built with .*'x'"):
        open_searcher(changed, "mine", store, tmp_path / "indexes")
