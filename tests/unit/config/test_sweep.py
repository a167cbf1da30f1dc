"""A sweep makes methods of one, named by their values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mrsearch.config import ConfigError, Run, Study, load_study, read_study, stages, write_study

RATE, GROUP = "training.learning_rate", "training.group_size"


def load(folder: Path, sweep: Any, overrides: dict[str, Any] | None = None, **keys: Any) -> Study:
    """The demo with a sweep; what is compared with MR-Search there is dropped."""
    path = folder / "mine.yaml"
    methods = {"search_r1_long": None}
    raw = {"extends": "demo", "name": "mine", "methods": methods, "sweep": sweep, **keys}
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return load_study(Run(study=str(path), overrides=overrides or {}))


def test_a_grid_makes_a_method_of_every_combination_in_the_place_of_the_one(tmp_path: Path) -> None:
    study = load(tmp_path, {"mr_search": {RATE: [1e-4, 2e-4], GROUP: [3, 5]}})
    names = [f"mr_search-learning_rate_{rate}-group_size_{size}" for rate in (0.0001, 0.0002) for size in (3, 5)]
    assert list(study.methods) == [name for name in read_study("demo").methods if "long" not in name][:-1] + names
    first = study.methods[names[0]]
    assert first.label == "MR-Search, learning_rate 0.0001, group_size 3"
    assert first.training == {"learning_rate": 1e-4, "group_size": 3}
    assert first.sweep is not None
    assert (first.sweep.of, first.sweep.values) == ("mr_search", {"learning_rate": 1e-4, "group_size": 3})
    assert first.compare_with == "search_r1_sequential"


def test_a_list_makes_a_method_of_every_entry(tmp_path: Path) -> None:
    study = load(tmp_path, {"mr_search": [{"episodes": 2}, {"episodes": 4, "train.gamma": 0.5}]})
    assert [name for name in study.methods if name.startswith("mr_search")] == [
        "mr_search-episodes_2",
        "mr_search-episodes_4-gamma_0.5",
    ]


@pytest.mark.parametrize(
    ("values", "texts", "shown"),
    [
        ([1e-06, 0.5], ["1e-06", "0.5"], [1e-06, 0.5]),
        (["1e-4"], ["1e-4"], [0.0001]),
        ([True, None], ["true", "null"], ["true", "null"]),
        ([[0, 1, 1], [1, 1, 1]], ["0_1_1", "1_1_1"], ["0_1_1", "1_1_1"]),
        ({"short": "search again", "long": 7}, ["short", "long"], ["short", "long"]),
    ],
)
def test_values_name_their_methods(tmp_path: Path, values: Any, texts: list[str], shown: list[Any]) -> None:
    from mrsearch.config.sweep import expanded

    made = expanded({"methods": {"m": {}}, "sweep": {"m": {"a.b": values}}}, "x")["methods"]
    assert list(made) == [f"m-b_{text}" for text in texts]
    assert [row["sweep"]["values"]["b"] for row in made.values()] == shown
    assert [row["a"]["b"] for row in made.values()] == (list(values.values()) if isinstance(values, dict) else values)


def test_keys_that_end_alike_are_named_whole(tmp_path: Path) -> None:
    study = load(tmp_path, {"mr_search": {"training.temperature": [0.5], "protocol.max_turns": [2], "max_turns": [3]}})
    assert [name for name in study.methods if name.startswith("mr_search")] == [
        "mr_search-temperature_0.5-protocol.max_turns_2-max_turns_3"
    ]


def test_overrides_reach_what_is_swept(tmp_path: Path) -> None:
    study = load(tmp_path, {"mr_search": {RATE: [1e-4]}}, {"methods.mr_search.episodes": 2})
    assert study.methods["mr_search-learning_rate_0.0001"].episodes == 2


def test_a_point_has_the_digests_of_the_same_settings_without_a_sweep(tmp_path: Path) -> None:
    swept = load(tmp_path, {"mr_search": {RATE: [1e-3]}})
    alone = load_study(Run(overrides={"methods.mr_search.training": {"learning_rate": 1e-3}}))
    point = "mr_search-learning_rate_0.001"
    assert stages.train(swept, "tiny", point) == stages.train(alone, "tiny", "mr_search")
    assert stages.evaluate(swept, point) == stages.evaluate(alone, "mr_search")
    assert stages.train(swept, "tiny", "warm_start") == stages.train(read_study("demo"), "tiny", "warm_start")


def test_a_further_value_changes_no_digest_but_the_reports(tmp_path: Path) -> None:
    few, more = (load(tmp_path, {"mr_search": {RATE: rates}}) for rates in ([1e-3], [1e-3, 1e-4]))
    for name in few.methods:
        assert stages.evaluate(few, name) == stages.evaluate(more, name)
    point = "mr_search-learning_rate_0.001"
    assert stages.train(few, "tiny", point) == stages.train(more, "tiny", point)
    assert stages.report(few) != stages.report(more)


def test_the_written_study_holds_the_methods_and_no_sweep(tmp_path: Path) -> None:
    study = load(tmp_path, {"mr_search": {RATE: [1e-4, 2e-4]}})
    write_study(study, tmp_path / "study.json")
    assert read_study(tmp_path / "study.json") == study


def test_a_sweep_of_the_other_study_can_be_dropped(tmp_path: Path) -> None:
    load(tmp_path, {"mr_search": {RATE: [1e-4]}})
    (tmp_path / "over.yaml").write_text("{extends: mine.yaml, name: over, sweep: {mr_search: null}}")
    assert "mr_search" in read_study(tmp_path / "over.yaml").methods


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({"nobody": {"episodes": [2]}}, "sweep.nobody is not a method of this study: known are direct"),
        ({"mr_search": {}}, "sweep.mr_search is neither a grid"),
        ({"mr_search": {"episodes": 2}}, "sweep.mr_search.episodes (2) is no list of values"),
        ({"mr_search": {"episodes": []}}, "sweep.mr_search.episodes ([]) is no list of values"),
        ({"mr_search": {"episodes": [2, 2]}}, "'mr_search-episodes_2' comes twice"),
        ({"mr_search": {"episodes.x": [2], "episodes": [3]}, "rag": 7}, "sweep.rag is neither a grid"),
        ({"mr_search": [{"episodes": 2, "episodes.x": 1}]}, "sweep.mr_search.episodes.x: episodes is not a group"),
        ({"mr_search": {"label": ["a b"]}}, "sweep.mr_search.label: 'a b' cannot be part of a method's name: name it"),
        ({"mr_search": {"train": [{"gamma": 1}]}}, "sweep.mr_search.train: {'gamma': 1} is a group of keys"),
        ({"mr_search": {"label": ["x" * 75]}}, "has more than 80 characters: name its values"),
        ({"mr_search": {"a": [*range(40)], "b": [*range(40)]}}, "sweep.mr_search has more than 1000 combinations"),
        ({"mr_search": {"training.learning_rat": [1]}}, "mr_search-learning_rat_1.training.learning_rat: unknown"),
        ({"search_r1": {"episodes": [1]}}, "methods.search_r1_sequential.policy ('search_r1') is not a trained method"),
        (7, "sweep holds int, not methods with their keys"),
    ],
)
def test_what_cannot_be_swept_is_refused(tmp_path: Path, sweep: Any, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, sweep)
    assert message in str(error.value)
    assert "mine.yaml" in str(error.value)
