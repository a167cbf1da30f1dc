"""Interventions belong to a method that is another one's twin in everything else."""

from __future__ import annotations

from typing import Any

import pytest
from support.project import ROOT

from mrsearch.config import Run, Study, load_study
from mrsearch.config.stages import evaluate

TWIN: dict[str, Any] = {"policy": "mr_search", "episodes": 3, "compare_with": "mr_search"}
BLANKED = {"kind": "blanked_passages"}


def study_with(small_study: Study, **changes: Any) -> Study:
    raw = small_study.model_dump()
    raw["methods"]["twin"] = TWIN | {"intervention": BLANKED} | changes
    return Study.model_validate(raw)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"episodes": 2}, r"methods.twin .*compare_with \(mr_search\) by that alone, and it differs by episodes: set"),
        ({"policy": "search_r1"}, "differs by policy"),
        ({"max_turns": 9}, "differs by max_turns"),
        ({"protocol": {"max_turn_tokens": 9}}, "differs by protocol"),
        ({"compare_with": None}, "needs compare_with: name the method"),
        ({"policy": None, "train": {"algorithm": "grpo"}}, "belongs to evaluation: give it to another method"),
        ({"procedure": "direct", "episodes": 1}, "procedure 'direct' does not search: remove intervention"),
        ({"intervention": {"kind": "blanked_episode", "episode": 3}}, r"episode \(3\) has no later episode among 3"),
        ({"intervention": {"kind": "blanked_episode"}, "context": "previous"}, "set context: full"),
        (
            {"intervention": {"kind": "delayed_passages"}, "context": "independent", "temperature": 1.0},
            "no order of searches",
        ),
        ({"intervention": {"kind": "blanked_passages", "seed": 1}}, "seed"),
    ],
)
def test_what_is_no_twin_is_refused_with_the_way_out(small_study: Study, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        study_with(small_study, **changes)


def test_a_twin_has_the_settings_of_its_fellow(small_study: Study) -> None:
    raw = small_study.model_dump()
    raw["methods"]["mr_search"]["protocol"] = {"max_turn_tokens": 9}
    raw["methods"]["twin"] = TWIN | {"intervention": BLANKED, "protocol": {"max_turn_tokens": 9}}
    study = Study.model_validate(raw)
    assert study.of("twin").protocol == study.of("mr_search").protocol
    assert Study.model_validate(study.of("mr_search").model_dump()) == study.of("mr_search")


def test_an_intervention_alone_makes_another_evaluation(small_study: Study) -> None:
    plain, twin = study_with(small_study, intervention=None), study_with(small_study)
    assert "intervention" not in plain.model_dump()["methods"]["twin"]
    assert evaluate(plain, "twin") != evaluate(twin, "twin")
    assert evaluate(plain, "mr_search") == evaluate(twin, "mr_search")


def test_the_guides_study_intervenes_in_every_way() -> None:
    study = load_study(Run(study="docs/guides/interventions.yaml"), ROOT)
    kinds = {method.intervention.kind for method in study.methods.values() if method.intervention is not None}
    assert kinds == {"blanked_passages", "swapped_passages", "delayed_passages", "blanked_episode"}
