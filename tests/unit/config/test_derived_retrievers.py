"""Retrievers over others, and those of other servers: what fits together, what is served and what digests depend on."""

from __future__ import annotations

from typing import Any

import pytest

from mrsearch.config import ConfigError, Study, load_run, load_study, stages

NOISY = {"kind": "noisy", "of": "dense", "share": 0.2}
RERANKED = {"kind": "reranked", "of": "fused", "path": "cross-encoder"}
FUSED = {"kind": "hybrid", "of": ["dense", "ivf_sq8"]}


def study(use: str, mode: str = "http", **retrievers: dict[str, Any]) -> Study:
    overrides: dict[str, Any] = {f"retrieval.retrievers.{name}": value for name, value in retrievers.items()}
    overrides |= {"retrieval.use": use, "retrieval.service.mode": mode}
    return load_study(load_run({"study": "demo", "overrides": overrides}))


def test_what_a_retriever_reaches_and_which_indexes_that_takes() -> None:
    chain = study("noise", noise={**NOISY, "of": "best"}, best=RERANKED, fused=FUSED)
    assert chain.reached("noise") == ("noise", "best", "fused", "dense", "ivf_sq8")
    assert chain.members("noise") == chain.indexed() == ("dense", "ivf_sq8")
    assert chain.served() == ("noise",) and chain.reranks()
    assert study("noise", "in_process", noise=NOISY).served() == ()


def test_a_withheld_retriever_searches_the_one_below_it() -> None:
    gap = {"kind": "withheld", "of": "dense", "title_word": "rumour"}
    chain = study("noise", noise={**NOISY, "of": "gap"}, gap=gap)
    assert chain.reached("noise") == ("noise", "gap", "dense") and chain.members("noise") == ("dense",)
    partial = study("gap", gap={**gap, "share": 0.5})
    assert stages.evaluate(partial, "rag") != stages.evaluate(study("gap", gap=gap), "rag")


def test_chance_and_nothing_need_neither_server_nor_index() -> None:
    for kind in ("random", "empty"):
        alone = study("control", control={"kind": kind})
        assert (alone.served(), alone.indexed(), alone.compared()) == ((), (), alone.retrieval.compared)
        assert "retriever" not in alone.active_stages()


@pytest.mark.parametrize(
    ("retrievers", "message"),
    [
        ({"a": {**NOISY, "of": "nope"}}, r"retrieval.retrievers.a.of names 'nope', which is no retriever"),
        ({"a": {**NOISY, "of": "b"}, "b": {**NOISY, "of": "a"}}, r"of runs in a circle: a -> b -> a"),
        ({"a": NOISY | {"of": "b"}, "b": {"kind": "remote", "url": "http://h"}}, "passages of another corpus"),
        ({"a": NOISY | {"share": 1.5}}, "share: Input should be less than or equal to 1"),
        ({"a": {**RERANKED, "of": "dense", "revision": "main"}}, "not a full commit"),
        ({"a": {"kind": "remote", "url": "http://me:pw@h"}}, "use token_file"),
        ({"a": {"kind": "remote", "url": "http://h:1/retrieve"}}, "leave out /retrieve"),
        ({"a": {"kind": "remote", "url": "file:///etc"}}, "is not the address of a server"),
        ({"a": {"kind": "remote", "url": "http://h:99999"}}, "is not the address of a server"),
    ],
)
def test_what_does_not_fit_is_named(retrievers: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        study("a", **retrievers)


def test_a_remote_server_is_compared_with_no_index() -> None:
    overrides = {"retrieval.retrievers.far": {"kind": "remote", "url": "http://h"}, "retrieval.compared": ["far"]}
    with pytest.raises(ConfigError, match=r"retrieval.compared names 'far'"):
        load_study(load_run({"study": "demo", "overrides": overrides}))


def test_what_no_index_stands_for_is_in_the_digests_of_what_searches_through_it() -> None:
    def trained(depth: int, seed: int) -> str:
        best = {**RERANKED, "of": "dense", "depth": depth}
        return stages.train(study("a", a={**NOISY, "of": "best", "seed": seed}, best=best), "tiny", "mr_search")

    assert len({trained(10, 0), trained(20, 0), trained(10, 1)}) == 3
    assert trained(10, 0) == trained(10, 0)
