"""Study, site and run files from anybody: odd values and odd files end in one sentence, soon."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ValidationError

from mrsearch.config import ConfigError, Run, load_run, load_study
from mrsearch.config.hub_rows import HubFile
from mrsearch.config.models import HubModel
from mrsearch.config.retrieval import Encoder
from mrsearch.config.site import Site
from mrsearch.config.source import read_yaml
from mrsearch.config.study import Report, Study
from mrsearch.config.training import PolicyTraining
from mrsearch.data.registry import RegistryEntry

COMMIT = "0" * 40
DEMO: dict[str, Any] = yaml.safe_load(Path("config/studies/demo.yaml").read_text(encoding="utf-8"))


def numbers(node: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every number of a JSON schema, by its place."""
    if isinstance(node, dict):
        if node.get("type") in ("number", "integer") and "enum" not in node:
            yield where, node
        for key, value in node.items():
            yield from numbers(value, f"{where}.{key}")
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from numbers(value, f"{where}.{number}")


@pytest.mark.parametrize("model", [Run, Study, Site])
def test_every_number_has_finite_bounds(model: Any) -> None:
    found = list(numbers(model.model_json_schema(), model.__name__))
    assert found
    for where, schema in found:
        least = schema.get("minimum", schema.get("exclusiveMinimum"))
        most = schema.get("maximum", schema.get("exclusiveMaximum"))
        assert least is not None and most is not None and math.isfinite(least) and math.isfinite(most), where


@pytest.mark.parametrize("rate", [math.inf, -math.inf, math.nan, 0.0, -1e-9, 1e30, "inf", "nan", "1e999"])
def test_rates_are_finite_and_positive(rate: Any) -> None:
    for key in ("learning_rate", "clip_range", "max_grad_norm", "temperature"):
        with pytest.raises(ValidationError):
            PolicyTraining.model_validate({key: rate})


def models_below(model: type[BaseModel]) -> set[type[BaseModel]]:
    """The model and every model that one of its fields may hold."""
    seen, waiting = set[type[BaseModel]](), [model]
    while waiting:
        current = waiting.pop()
        if isinstance(current, type) and issubclass(current, BaseModel) and current not in seen:
            seen.add(current)
            waiting += [field.annotation for field in current.model_fields.values()]
        else:
            waiting += get_args(current)
    return seen


@pytest.mark.parametrize("model", [Run, Study, Site])
def test_no_number_has_two_bounds_on_one_side_of_which_the_last_would_count(model: type[BaseModel]) -> None:
    twice = [
        f"{below.__name__}.{name}"
        for below in models_below(model)
        for name, field in below.model_fields.items()
        for sides in [[type(bound) for bound in field.metadata if isinstance(bound, Ge | Gt | Le | Lt)]]
        if len(sides) != len(set(sides))
    ]
    assert twice == []


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("retrieval.service.port", 70_000, "65535"),
        ("retrieval.service.port", 65_536, "65535"),
        ("seeds", [True], "no truth value"),
        ("seeds", [3, False], "no truth value"),
        ("training.betas", [True, 0.9], "no truth value"),
        ("training.group_size", 1, "set 2 or more"),
    ],
)
def test_values_that_would_be_taken_for_others_are_refused(key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_study(Run(study="demo", overrides={key: value}))


@pytest.mark.parametrize("confidence", [5, 95, 1, 1.0, 0, -0.5, math.inf, math.nan])
def test_a_confidence_is_a_share(confidence: float) -> None:
    with pytest.raises(ValidationError):
        Report(confidence=confidence)
    assert Report(confidence=0.99).confidence == 0.99


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.keyword_probabilities", [2.0, 0.0, 0.0]),
        ("data.keyword_probabilities", [math.nan, 0.5, 0.5]),
        ("training.betas", [0.9, 1.0]),
        ("training.betas", [-0.1, 0.9]),
        ("warm_start.betas", [0.9, 99]),
        ("training.kl_coef", math.inf),
        ("seeds", [2**32]),
        ("seeds", [-1]),
        ("data.seed", 10**30),
        ("retrieval.service.request_seconds", 1e300),
        ("retrieval.service.max_body_bytes", 10**15),
        ("evaluation.generator.deadline_seconds", math.inf),
        ("resources.train.mem_mb", 10**20),
        ("training.steps", 10**20),
    ],
)
def test_other_numbers_are_bounded(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=key.split(".")[-1]):
        load_study(Run(study="demo", overrides={key: value}))


UNUSABLE = (
    "",
    "a/b",
    "../a",
    "..",
    ".",
    ".hidden",
    "-option",
    "a\n",
    "a\nb",
    "a\x00",
    "a\x1b[2J",
    "a b",
    "a\\b",
    "a..b",
    "ä",
    "a{b}",
    "a*",
    "$(x)",
    "a" * 81,
    "a\u2028",
    "a\r",
)


@pytest.mark.parametrize("name", UNUSABLE)
def test_names_are_plain(name: str) -> None:
    raw = {**DEMO, "name": name}
    with pytest.raises(ValidationError, match="name"):
        Study.model_validate(raw)
    for group in ("models", "methods", "benchmarks"):
        with pytest.raises(ValidationError):
            Study.model_validate({**DEMO, group: {**DEMO[group], name: next(iter(DEMO[group].values()))}})
    benchmarks = {**DEMO["benchmarks"], "other": {"source": name}}
    with pytest.raises(ValidationError):
        Study.model_validate({**DEMO, "benchmarks": benchmarks})


REVISIONS = ("", "main", "../" * 3 + "x", "0" * 39, "0" * 41, COMMIT + "\n", "\n" + COMMIT, "0" * 39 + "/", "A" * 40)


@pytest.mark.parametrize("revision", [*REVISIONS, "0" * 37 + "../", "refs/pr/1", None, 7])
def test_revisions_are_whole_commits(revision: Any) -> None:
    with pytest.raises(ValidationError):
        HubModel(repository="a/b", revision=revision, parameters=1.0)
    with pytest.raises(ValidationError):
        Encoder(kind="hub", path="a/b", revision=revision)


@pytest.mark.parametrize(
    "repository",
    ["", "/a", "a/", "../a", "a/..", "a/../b", "a/b/c", "a//b", "a/b\n", "a b", "a\\b", "http://a/b", "a--b/c", "~/a"],
)
def test_repositories_are_of_the_hub(repository: str) -> None:
    with pytest.raises(ValidationError):
        HubModel(repository=repository, revision=COMMIT, parameters=1.0)
    with pytest.raises(ValidationError):
        Encoder(kind="hub", path=repository, revision=COMMIT)
    with pytest.raises(ValidationError):
        RegistryEntry(name="x", kind="model", repository=repository, source="here")


@pytest.mark.parametrize(
    "path", ["", "/a", "../a", "a/../b", "a/./b", "a//b", "a/", "a\\b", "a\n", "a\x00b", "a" * 501]
)
def test_files_of_a_repository_lie_in_it(path: str) -> None:
    with pytest.raises(ValidationError):
        HubFile(path=path)
    assert HubFile(path="data/train 1.parquet").path == "data/train 1.parquet"


def bomb(levels: int, width: int = 9) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines)


def mappings(levels: int) -> str:
    lines = ["a0: &a0 {x: 1, y: 2}"]
    lines += [f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}, z: *a{n - 1}}}" for n in range(1, levels)]
    return "\n".join(lines)


ODD_FILES = {
    "aliases of lists": bomb(9),
    "aliases of mappings": mappings(30),
    "many aliases": "a: &a [" + "x, " * 1000 + "]\nb: [" + "*a, " * 1000 + "]",
    "merged aliases": "a: &a {x: 1}\nb: {<<: *a}",
    "an alias of itself": "a: &a [*a]",
    "an alias in a circle": "a: &a {b: &b [*a, *b]}",
    "a list as key": "? [a, b]\n: 1",
    "a mapping as key": "? {a: 1}\n: 1",
    "deep lists": "[" * 20_000,
    "deep lists, closed": "[" * 5_000 + "]" * 5_000,
    "deep mappings": "{a: " * 5_000 + "1" + "}" * 5_000,
    "a number of many digits": "a: " + "9" * 10_000,
    "no date": "a: 2024-13-45",
    "an object": "a: !!python/object/apply:os.system [true]",
    "an unknown tag": "a: !thing 1",
    "controls": "a: \x00",
    "a list": "- a",
    "nothing": "",
    "a word": "a",
    "two documents": "a: 1\n---\nb: 2",
    "too many bytes": "# " + "x" * (1 << 20),
}


@pytest.mark.parametrize("kind", ODD_FILES)
def test_odd_files_end_in_one_sentence(tmp_path: Path, kind: str) -> None:
    (tmp_path / "study.yaml").write_text(ODD_FILES[kind])
    with pytest.raises(ConfigError, match=r"study\.yaml: ") as refused:
        load_study(Run(study=str(tmp_path / "study.yaml")))
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a": ' * 100_000, '{"a": ' + "9" * 10_000 + "}", "{", "[]", "null", ""]
)
def test_odd_json_ends_in_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(ConfigError, match=r"study\.json: "):
        read_yaml(tmp_path / "study.json")


def test_an_alias_that_says_something_once_is_fine(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: &a {k: [1, 2]}\nb: *a\nc: [*a, *a]")
    assert read_yaml(tmp_path / "x.yaml") == {"a": {"k": [1, 2]}, "b": {"k": [1, 2]}, "c": [{"k": [1, 2]}] * 2}


def test_messages_hold_the_beginning_of_large_values(tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text(json.dumps({**DEMO, "seeds": "9" * 50_000, "title": ["x" * 50_000]}))
    with pytest.raises(ConfigError, match="title") as refused:
        load_study(Run(study=str(tmp_path / "study.json")))
    assert len(str(refused.value)) < 2000


@pytest.mark.parametrize("text", ["[" * 5_000, "2024-13-45", "9" * 5_000, "*a", "&a", "{a: *a}"])
def test_odd_overrides_stay_text(text: str) -> None:
    assert load_run({"overrides": {"title": text}}).overrides == {"title": text}


@pytest.mark.parametrize(
    "text", ["yes", "no", "on", "Off", "y", "N", "2024_10", "1_000", "0x1F", "0o17", "007", "1:30", "2024-10-01", ".5"]
)
def test_overrides_that_only_yaml_takes_for_something_else_keep_their_text(text: str) -> None:
    assert load_run({"overrides": {"title": text}}).overrides == {"title": text}


def same(one: Any, other: Any) -> bool:
    return bool(one == other) and type(one) is type(other)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("-3", -3),
        ("1e-4", 1e-4),
        ("2.50", 2.5),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("'2024'", "2024"),
        ('"true"', "true"),
        ("''", ""),
        ("'", "'"),
    ],
)
def test_overrides_are_the_scalars_they_spell_and_text_in_quotes(text: str, value: Any) -> None:
    given = load_run({"overrides": {"title": text, "nested": {"list": [text]}}}).overrides
    assert same(given["title"], value) and same(given["nested"]["list"][0], value)


@pytest.mark.parametrize("value", [2024, 2.5, True, False])
@pytest.mark.parametrize("key", ["title", "protocol.prompts.search", "report.baseline"])
def test_a_number_where_text_belongs_is_told_how_to_write_it(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=r"write text in quotes") as refused:
        load_study(Run(study="demo", overrides={key: value}))
    assert key in str(refused.value)
