"""Which methods one job evaluates, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mrsearch.config import Run, Study, load_study
from mrsearch.config.shared_policies import job_of, require_one_policy, shared_policies


def shared(root: Path, study: str, **overrides: Any) -> Study:
    return load_study(Run(study=study, overrides={"evaluation.share_policy": True} | overrides), root)


def test_methods_of_one_policy_are_one_job_where_the_study_shares_it(root: Path) -> None:
    assert shared_policies(shared(root, "demo")) == (
        ("direct", "rag", "warm_start", "warm_start_sequential"),
        ("search_r1", "search_r1_sequential"),
        ("search_r1_long",),
        ("mr_search",),
    )
    untrained = ("direct", "cot", "self_consistency", "rag", "ircot", "search_o1")
    jobs = (untrained, ("search_r1", "search_r1_sequential"), ("search_r1_long",), ("mr_search",))
    assert shared_policies(shared(root, "paper")) == jobs
    assert job_of(shared(root, "paper"), "rag") == untrained


def test_by_default_every_method_is_a_job(root: Path) -> None:
    study = load_study(Run(study="demo"), root)
    assert shared_policies(study) == tuple((method,) for method in study.methods)


def test_another_longest_sequence_is_another_policy(root: Path) -> None:
    study = shared(root, "demo", **{"methods.warm_start_sequential.protocol": {"max_context_tokens": 600}})
    assert shared_policies(study)[:2] == (("direct", "rag", "warm_start"), ("warm_start_sequential",))
    turns = shared(root, "demo", **{"methods.warm_start_sequential.protocol": {"max_turn_tokens": 20}})
    assert shared_policies(turns) == shared_policies(shared(root, "demo")), "which a policy is not opened with"
    with pytest.raises(ValueError, match=r"'direct' and 'warm_start_sequential' do not run one policy"):
        require_one_policy(study, ["direct", "rag", "warm_start_sequential"])
    require_one_policy(study, ["direct", "rag"])
