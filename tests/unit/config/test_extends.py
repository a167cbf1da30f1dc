"""A study over another: what is taken over, what is replaced, what is dropped, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from support.project import ROOT

from mrsearch.config import ConfigError, Study, digest, read_study, write_study
from mrsearch.config.extends import over

STUDIES = sorted((ROOT / "config" / "studies").glob("*.yaml"))


def written(folder: Path, name: str, **keys: Any) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"name": name, **keys}, sort_keys=False))
    return path


def read(folder: Path, **keys: Any) -> Study:
    return read_study(written(folder, "mine", **keys))


def test_a_study_that_changes_nothing_differs_in_its_name_and_title_alone(tmp_path: Path) -> None:
    study, demo = read(tmp_path, extends="demo"), read_study("demo")
    assert study == demo.model_copy(update={"name": "mine", "title": ""})


def test_groups_are_joined_key_by_key_and_everything_else_is_replaced(tmp_path: Path) -> None:
    study, demo = read(tmp_path, extends="demo", training={"steps": 7}, seeds=[1, 2]), read_study("demo")
    assert study.training == demo.training.model_copy(update={"steps": 7})
    assert study.seeds == (1, 2)
    assert study.methods == demo.methods


def test_entries_are_added_changed_and_dropped_by_name(tmp_path: Path) -> None:
    methods = {"direct": None, "mr_search": {"episodes": 2}, "longer": {"policy": "mr_search", "episodes": 5}}
    study, demo = read(tmp_path, extends="demo", methods=methods), read_study("demo")
    assert list(study.methods) == [*(name for name in demo.methods if name != "direct"), "longer"]
    assert study.methods["mr_search"] == demo.methods["mr_search"].model_copy(update={"episodes": 2})


def test_the_rest_is_dropped_where_it_is_null_and_the_order_is_the_files(tmp_path: Path) -> None:
    methods = {"*": None, "mr_search": {"compare_with": None}, "new": {"policy": "base"}, "warm_start": {}}
    study = read(tmp_path, extends="demo", methods=methods, report={"baseline": "warm_start"})
    assert list(study.methods) == ["mr_search", "new", "warm_start"]
    assert study.methods["mr_search"].label == "MR-Search"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"data": {"kind": "folder", "path": "x"}}, {"kind": "folder", "path": "x"}),
        ({"data": {"seed": 9}}, {"kind": "world", "seed": 9}),
        ({"data": {"kind": "world", "seed": 9}}, {"kind": "world", "seed": 9}),
        ({"protocol": {"preset": "search_r1"}}, {"preset": "search_r1"}),
        ({"protocol": {"max_turns": 5}}, {"max_turns": 5, "no_hits": "none"}),
        ({"models": {"m": {"kind": "tiny"}}}, {"m": {"kind": "tiny"}}),
        ({"models": {"m": {"path": "y"}}}, {"m": {"kind": "folder", "path": "y"}}),
        (
            {"retrieval": {"retrievers": {"r": {"encoder": {"kind": "bow"}}}}},
            {"retrievers": {"r": {"kind": "dense", "encoder": {"kind": "bow"}}}},
        ),
        ({"evaluation": {"generator": {"kind": "sglang"}}}, {"generator": {"kind": "sglang", "dtype": "bfloat16"}}),
    ],
)
def test_a_group_whose_kind_changes_is_the_files_alone(keys: dict[str, Any], expected: dict[str, Any]) -> None:
    inherited = {
        "data": {"kind": "world", "seed": 7},
        "protocol": {"max_turns": 4, "no_hits": "none"},
        "models": {"m": {"kind": "folder", "path": "x"}},
        "retrieval": {"retrievers": {"r": {"kind": "dense", "encoder": {"kind": "folder", "path": "e"}}}},
        "evaluation": {"generator": {"kind": "vllm", "dtype": "bfloat16"}},
    }
    (group,) = keys
    assert over(inherited, keys)[group] == expected


def test_studies_extend_each_other_in_a_row_each_seen_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    written(tmp_path / "shared", "first", extends="demo", training={"steps": 7, "group_size": 4})
    written(tmp_path / "shared", "second", extends="first.yaml", training={"steps": 8})
    study = read(tmp_path, extends="shared/second.yaml", training={"learning_rate": 0.1})
    assert (study.training.steps, study.training.group_size, study.training.learning_rate) == (8, 4, 0.1)


def test_what_is_written_down_is_the_resolved_study(tmp_path: Path) -> None:
    study = read(tmp_path, extends="demo")
    write_study(study, tmp_path / "study.json")
    assert "extends" not in json.loads((tmp_path / "study.json").read_text())
    assert digest(read_study(tmp_path / "study.json")) == digest(study)


def test_a_circle_is_named(tmp_path: Path) -> None:
    written(tmp_path, "a", extends="b.yaml")
    written(tmp_path, "b", extends="a.yaml")
    with pytest.raises(ConfigError, match=r"a\.yaml: extends runs in a circle: .*a\.yaml -> .*b\.yaml -> .*a\.yaml"):
        read_study(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{name: mine, extends: nobody}", "mine.yaml: extends ('nobody') is neither a file nor one of the studies in"),
        ("{name: mine, extends: [demo]}", "mine.yaml: extends (['demo']) is not the name or the file of one study"),
        ("{extends: demo}", "mine.yaml: name is missing"),
        ("{name: mine, extends: demo, methods: {mr_search: {epsodes: 2}}}", "methods.mr_search.epsodes: unknown key"),
        ("{name: mine, extends: demo, training: null}", "training: "),
        ("{name: mine, extends: broken.yaml}", "broken.yaml: "),
    ],
)
def test_what_cannot_be_extended_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(ConfigError) as error:
        read_study(tmp_path / "mine.yaml")
    assert message in str(error.value)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_schema_for_editors_accepts_every_shipped_file(path: Path) -> None:
    schema = json.loads((ROOT / "workflow/schemas/study.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize(
    "raw",
    [
        {"name": "x"},
        {"extends": "demo"},
        {"name": "x", "extends": "demo", "trainin": {}},
        {"name": "x", "extends": "demo", "methods": {"mr_search": {"epsodes": 2}}},
    ],
)
def test_the_schema_for_editors_refuses_what_is_wrong(raw: dict[str, Any]) -> None:
    schema = json.loads((ROOT / "workflow/schemas/study.schema.json").read_text())
    assert not jsonschema.Draft202012Validator(schema).is_valid(raw)


def test_the_page_shows_a_study_that_is_accepted(tmp_path: Path) -> None:
    page = (ROOT / "docs/studies.md").read_text(encoding="utf-8").partition("## A study over another")[2]
    (tmp_path / "mine.yaml").write_text(page.partition("```yaml\n")[2].partition("```")[0])
    study, paper = read_study(tmp_path / "mine.yaml"), read_study("paper")
    assert (list(study.models), study.training.steps) == (["qwen2.5-7b"], 100)
    assert study.methods["mr_search"] == paper.methods["mr_search"]
    assert list(study.methods) == ["search_r1", "mr_search", "gamma_half"]
