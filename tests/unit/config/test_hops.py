"""Which benchmarks ask for one fact and which for several."""

from __future__ import annotations

from typing import Any

import pytest

from mrsearch.config import Study, digest
from mrsearch.config.hops import PUBLISHED, WORLD_HOPS, by_hops, hops_of
from mrsearch.data.registry import registry
from mrsearch.data.world import BENCHMARKS


def study_of(small_study: Study, data: dict[str, Any], benchmarks: dict[str, Any], **report: Any) -> Study:
    raw = small_study.model_dump() | {"data": data, "benchmarks": benchmarks}
    return Study.model_validate(raw | {"report": raw["report"] | report})


def test_the_worlds_benchmarks_and_the_registrys_are_known(small_study: Study) -> None:
    world = study_of(small_study, {"kind": "world"}, {"two_hop": {}, "easy": {"source": "popular"}, "comparison": {}})
    assert [hops_of(world, name) for name in world.benchmarks] == ["multi", "one", "multi"]
    hub = study_of(small_study, {"kind": "hub"}, {"nq": {}, "musique": {}, "asearcher": {}})
    assert [hops_of(hub, name) for name in hub.benchmarks] == ["one", "multi", None]
    assert set(WORLD_HOPS) == set(BENCHMARKS)
    assert {registry()[name].kind for name in PUBLISHED} == {"questions"}


def test_a_folders_questions_are_what_the_study_says_whatever_their_name(small_study: Study) -> None:
    folder = {"kind": "folder", "path": "questions", "train": "train.jsonl"}
    study = study_of(small_study, folder, {"nq": {}, "two_hop": {"hops": "one"}, "far": {"hops": "multi"}})
    assert [hops_of(study, name) for name in study.benchmarks] == [None, "one", "multi"]
    outside = study_of(small_study, folder, {"two_hop": {"hops": "one"}, "far": {"hops": "multi", "average": False}})
    assert by_hops(outside) == {"one": ["two_hop"], "multi": []}


def test_a_table_compares_hops_only_where_there_are_both(small_study: Study) -> None:
    tables = {"main": {"columns": ["support", "adaptivity"]}}
    with pytest.raises(ValueError, match=r"main.columns names 'adaptivity', but no benchmark.*hops: multi: say so"):
        study_of(small_study, {"kind": "world"}, {"popular": {}, "single_hop": {}}, tables=tables)
    study_of(small_study, {"kind": "world"}, {"popular": {}, "two_hop": {}}, tables=tables)


def test_hops_that_are_not_said_change_no_digest(small_study: Study) -> None:
    assert "hops" not in small_study.model_dump()["benchmarks"]["one"]
    said = study_of(small_study, {"kind": "world"}, {"one": {"hops": "one"}})
    assert digest(said.benchmarks["one"]) != digest(small_study.benchmarks["one"])
