"""An experiment's points become methods: what a point changes is copied, and what it does not is shared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mrsearch.config import ConfigError, Run, Study, load_study, read_study, stages, write_study
from mrsearch.config.experiment_points import with_points

KNOBS = {
    "persistence": {"points": {"0.1": {}, "0.5": {"warm_start": {"warm_start.persistence": 0.5}}}},
    "context": {
        "label": "Tokens",
        "points": {"99": {"*": {"protocol.max_context_tokens": 99}, "mr_search": {"context": "previous"}}},
    },
    "memory": {"points": {"short": {"mr_search": {"context": "previous"}}}},
}
EXPERIMENT = {"method": "mr_search", "against": ["search_r1_long", "search_r1_sequential"], "knobs": KNOBS}


def load(folder: Path, experiment: Any = EXPERIMENT, **overrides: Any) -> Study:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"extends": "demo", "name": "mine", "experiment": experiment}, sort_keys=False))
    return load_study(Run(study=str(path), overrides=overrides))


def at(study: Study, knob: str, value: str) -> list[str]:
    """The methods of one point, in the order of the arms."""
    assert study.report.experiment is not None
    point = study.report.experiment.knobs[knob].points[value]
    return [point[arm] for arm in study.report.experiment.arms]


def test_a_point_copies_what_it_changes_and_what_builds_on_it(tmp_path: Path) -> None:
    study = load(tmp_path)
    assert at(study, "persistence", "0.1") == ["mr_search", "search_r1_long", "search_r1_sequential"]
    of_half = at(study, "persistence", "0.5")
    names = ("mr_search", "search_r1_long", "search_r1_sequential")
    assert of_half == [f"{name}-persistence_0.5" for name in names]
    starts = [train.start for name in of_half[:2] if (train := study.methods[name].train)]
    assert starts == ["warm_start-persistence_0.5"] * 2
    sequential = study.methods[of_half[2]]
    assert sequential.policy == "search_r1-persistence_0.5"
    assert sequential.label == "Search-R1 + reflection, persistence 0.5"
    assert study.warm_start_of("warm_start-persistence_0.5").persistence == 0.5
    assert "rag-persistence_0.5" not in study.methods
    assert study.report.experiment is not None
    copies = study.report.experiment.copies
    assert set(copies) == set(study.methods) - set(read_study("demo").methods) and len(copies) == 10


def test_what_a_point_does_not_change_is_shared(tmp_path: Path) -> None:
    study = load(tmp_path)
    assert at(study, "memory", "short") == ["mr_search-memory_short", "search_r1_long", "search_r1_sequential"]
    copied = at(study, "context", "99")
    assert [study.of(name).protocol.max_context_tokens for name in (*copied, "search_r1-context_99")] == [99] * 4
    assert [study.methods[name].context for name in copied] == ["previous", "full", "full"]
    assert study.methods[copied[0]].train == study.methods["mr_search"].train
    assert study.report.experiment is not None and study.report.experiment.knobs["context"].label == "Tokens"


def test_the_methods_of_the_file_keep_their_digests_and_overrides_reach_every_point(tmp_path: Path) -> None:
    study, demo = load(tmp_path), read_study("demo")
    for name in ("warm_start", "mr_search"):
        assert stages.train(study, "tiny", name) == stages.train(demo, "tiny", name)
    point = "mr_search-persistence_0.5"
    assert stages.train(study, "tiny", point) != stages.train(study, "tiny", "mr_search")
    assert load(tmp_path, **{"methods.mr_search.episodes": 2}).methods[point].episodes == 2


def test_a_written_study_has_the_same_points(tmp_path: Path) -> None:
    study = load(tmp_path)
    write_study(study, tmp_path / "study.json")
    assert read_study(tmp_path / "study.json") == study


def test_pairs_that_points_share_are_listed_once(tmp_path: Path) -> None:
    experiment = load(tmp_path).report.experiment
    assert experiment is not None
    pairs = experiment.pairs("search_r1_long")
    assert len(pairs) == 4 and pairs[0] == ("mr_search", "search_r1_long")
    assert experiment.compared_with("mr_search-memory_short") == ["search_r1_long", "search_r1_sequential"]
    assert experiment.compared_with("search_r1_long") == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "nobody"}, "experiment names 'nobody', which is no method"),
        ({"against": []}, "experiment.against"),
        ({"against": ["mr_search"]}, "name a method twice"),
        ({"knobs": {"a": {"points": {"1": {"rag": {"x": 1}}}}}}, "a.points.1 changes 'rag', which nothing"),
        ({"knobs": {"a": {"points": {"1": {"mr_search": {"episodes.x": 1}}}}}}, "episodes is not a group"),
        ({"knobs": {"a": {"points": {"1": {"mr_search": {"train.gamma": 9}}}}}}, "mr_search-a_1.train.gamma"),
        ({"knobs": {"a" * 75: {"points": {"1": {"mr_search": {"episodes": 2}}}}}}, "more than 80 characters"),
        ({"knobs": {"a": {"points": {"b/c": {}}}}}, "b/c"),
    ],
)
def test_an_experiment_that_cannot_be_read_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, {**EXPERIMENT, **change})


def test_a_name_that_is_there_already_and_methods_that_are_none_are_refused() -> None:
    knobs = {"a": {"points": {"1": {"m": {"x": 1}}}}}
    experiment = {"method": "m", "against": ["n"], "knobs": knobs}
    with pytest.raises(ConfigError, match="makes 'm-a_1', which is a method already"):
        with_points({"methods": {"m": {}, "n": {}, "m-a_1": {}}, "experiment": experiment}, "x")
    with pytest.raises(ConfigError, match="experiment needs methods"):
        with_points({"methods": [], "experiment": experiment}, "x")
    assert with_points({"methods": {"m": {}}}, "x") == {"methods": {"m": {}}}
