"""`mrsearch evaluate` of several methods: which folder belongs to which."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrsearch.cli.evaluate import method_folders
from mrsearch.config import Study
from mrsearch.evaluation.folders import MethodFolders

METHODS, OUTS, CACHES = ["direct", "mr_search"], [Path("a"), Path("b")], [Path("c"), Path("d")]


@pytest.fixture
def served(small_study: Study) -> Study:
    """The study with a server and one method that searches without it."""
    raw = small_study.model_dump()
    raw["retrieval"] |= {"service": {"mode": "http"}}
    raw["retrieval"]["retrievers"] |= {"nothing": {"kind": "empty"}}
    raw["methods"]["mr_search"]["retrieval"] = {"use": "nothing"}
    return Study.model_validate(raw)


def test_each_method_has_its_folders(small_study: Study) -> None:
    expected = {"direct": MethodFolders(Path("a"), Path("c")), "mr_search": MethodFolders(Path("b"), Path("d"))}
    assert method_folders(small_study, METHODS, OUTS, CACHES, []) == expected


def test_an_endpoint_is_that_of_the_next_method_with_a_server(served: Study) -> None:
    folders = method_folders(served, METHODS[::-1], OUTS, CACHES, [Path("e")])
    assert folders == {
        "mr_search": MethodFolders(Path("a"), Path("c")),
        "direct": MethodFolders(Path("b"), Path("d"), Path("e")),
    }


def test_too_few_or_too_many_are_told(small_study: Study) -> None:
    with pytest.raises(ValueError, match=r"--out stands 1 times: give it once for each of direct, mr_search"):
        method_folders(small_study, METHODS, OUTS[:1], CACHES, [])
    with pytest.raises(ValueError, match=r"--endpoint stands 1 times: give it once for each of none of the methods"):
        method_folders(small_study, METHODS, OUTS, CACHES, [Path("e")])
    with pytest.raises(ValueError, match=r"--method \(direct, direct\) names a method twice"):
        method_folders(small_study, ["direct", "direct"], OUTS, CACHES, [])
