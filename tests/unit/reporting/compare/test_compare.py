"""Results of several studies in one table: the same numbers as alone, the same questions, and no comparison of what
cannot be compared."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from support.made_up import write_made_records
from typer.testing import CliRunner

from mrsearch.cli import app
from mrsearch.config import Study, write_study
from mrsearch.config.layout import StudyFolder
from mrsearch.evaluation.choices import HEADLINE
from mrsearch.evaluation.metrics import write_metrics
from mrsearch.reporting.bundle import _packed
from mrsearch.reporting.compare.checks import refuse
from mrsearch.reporting.compare.rows import StudyComparison
from mrsearch.reporting.compare.sources import opened
from mrsearch.reporting.compare.writer import write_comparison
from mrsearch.reporting.frame import Metrics
from mrsearch.reporting.tables.writer import write_tables

pytestmark = pytest.mark.slow


def run(study: Study, root: Path) -> Path:
    """Results of a study below `root`: what its evaluations and its report write."""
    folder = StudyFolder(root)
    write_made_records(study, folder.evaluations)
    write_metrics(study, folder.evaluations, folder.scores, folder.metrics)
    return described(study, root)


def like(small: Path, study: Study, root: Path, inputs: dict[str, str] | None = None, questions: int = 12) -> Path:
    """The results of `small` as those of a study that differs from it, with the first questions of each benchmark."""
    source, folder = StudyFolder(small), StudyFolder(root)
    root.mkdir()
    scores = pd.read_parquet(source.scores)
    numbers = scores.question_id.str.rpartition("-")[2].astype(int)
    scores["seed"] += study.seeds[0]
    scores[(numbers < questions) & scores.method.isin(study.methods)].to_parquet(folder.scores)
    table = pq.read_table(source.metrics)
    pq.write_table(table.replace_schema_metadata({"study": study.name, "origin": "made up"}), folder.metrics)
    asked = {f"questions/{name}": str(questions) for name in study.benchmarks} if questions != 12 else {}
    return described(study, root, asked | (inputs or {}))


def described(study: Study, root: Path, inputs: dict[str, str] | None = None) -> Path:
    """The folder with its study and the records of its evaluations, of which other hashes stand in `inputs`."""
    hashes = {"corpus": "c", "index/dense": "i", **{f"questions/{name}": "q" for name in study.benchmarks}}
    record = {"inputs": {name: {"sha256": value} for name, value in (hashes | (inputs or {})).items()}}
    for method, seed in itertools.product(study.methods, study.seeds):
        path = StudyFolder(root).evaluation_record("tiny", method, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))
    write_study(study, StudyFolder(root).study)
    return root


def changed(study: Study, **keys: Any) -> Study:
    """The study with other keys, by dotted path with two underscores."""
    raw = study.model_dump(mode="json")
    for dotted, value in keys.items():
        *parents, last = dotted.split("__")
        node = raw
        for key in parents:
            node = node[key]
        node[last] = value
    return Study.model_validate(raw)


@pytest.fixture(scope="module")
def small(small_study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(small_study, tmp_path_factory.mktemp("small"))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_first_studys_numbers_are_those_of_its_own_report(small_study: Study, small: Path, tmp_path: Path) -> None:
    second = like(small, changed(small_study, name="second"), tmp_path / "second")
    with opened([str(small), str(second)], tmp_path) as sources:
        comparison = StudyComparison(sources)
    metrics = Metrics(small_study, StudyFolder(small).metrics)
    for row in comparison.rows[:4]:
        for column in comparison.columns:
            value = metrics.at("tiny", "greedy", row.method, column, "em", HEADLINE)
            assert row.values[column] == pytest.approx(value)
        if row.method != "search_r1":
            assert row.contrast is not None
            for metric, value in (("em_difference", row.contrast.difference.value), ("em_p", row.contrast.p)):
                alone = metrics.at("tiny", "greedy", row.method, "average", metric, HEADLINE, "search_r1")
                assert value == pytest.approx(alone.value)


def test_two_runs_of_one_study_are_paired_method_by_method(small: Path, small_study: Study, tmp_path: Path) -> None:
    again = like(small, small_study, tmp_path / "again")
    write_comparison([str(small), str(again)], tmp_path, tmp_path / "out")
    rows = [row for row in rows_of(tmp_path / "out" / "compare.csv") if row["benchmark"] == "average"]
    later = [row for row in rows if row["study"] == "small (2)"]
    assert len(later) == 8
    for row in later:
        label = small_study.methods[row["method"]].label
        assert row["compared_with"] == f"small (1): {label}"
        assert float(row["difference"]) == 0.0
        assert float(row["p"]) == pytest.approx(1.0)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *(f"compare.{kind}" for kind in ("csv", "md", "html", "tex")),
        *(f"compare-figure.{kind}" for kind in ("csv", "pdf", "svg", "png")),
    }


def test_only_the_questions_that_all_ask_count(small: Path, small_study: Study, tmp_path: Path) -> None:
    fewer = like(
        small, changed(small_study, name="fewer", data__questions_per_benchmark=8), tmp_path / "fewer", questions=8
    )
    write_comparison([str(small), str(fewer)], tmp_path, tmp_path / "out")
    text = (tmp_path / "out" / "compare.md").read_text()
    assert "small asks more questions (12 of One & only, 12 of 2 hops, 12 of extra)" in text.replace("\\", "")
    scores = pd.read_parquet(StudyFolder(fewer).scores)
    both = scores[(scores.method == "mr_search") & (scores.decoding == "greedy") & (scores.benchmark == "two")]
    shown = [row for row in rows_of(tmp_path / "out" / "compare.csv") if row["method"] == "mr_search"]
    of_two = [row for row in shown if row["benchmark"] == "two" and row["decoding"] == "greedy"]
    assert [float(row["value"]) for row in of_two] == pytest.approx([both.em_final.mean()] * 2)
    assert {row["n"] for row in of_two} == {"8"}


def test_what_only_one_has_is_left_out_and_named(small: Path, small_study: Study, tmp_path: Path) -> None:
    raw = small_study.model_dump(mode="json") | {"name": "less"}
    del raw["benchmarks"]["extra"], raw["evaluation"]["decoding"]["sampled"], raw["methods"]["direct"]
    less = like(small, Study.model_validate(raw), tmp_path / "less")
    write_comparison([str(small), str(less)], tmp_path, tmp_path / "out", methods=["mr_search"])
    text = (tmp_path / "out" / "compare.md").read_text()
    assert "left out of small: extra, sampled." in text
    rows = [row for row in rows_of(tmp_path / "out" / "compare.csv") if row["benchmark"] == "average"]
    assert [(row["study"], row["compared_with"]) for row in rows] == [
        ("small", "small: Search-R1"),
        ("less", "small: MR-Search"),
    ]
    assert float(rows[1]["difference"]) == 0.0


def test_without_a_common_seed_the_difference_is_of_these_weights(
    small: Path, small_study: Study, tmp_path: Path
) -> None:
    other = like(small, changed(small_study, name="other", seeds=[5, 6]), tmp_path / "other")
    with opened([str(small), str(other)], tmp_path) as sources:
        row = next(row for row in StudyComparison(sources, ["mr_search"]).rows if row.source.label == "other")
    assert row.contrast is not None
    assert row.contrast.basis == "weights"
    assert row.contrast.difference.value == pytest.approx(0.0)


def test_a_bundle_gives_the_table_of_its_folder(small: Path, small_study: Study, tmp_path: Path) -> None:
    second = like(small, changed(small_study, name="second"), tmp_path / "second")
    kept = ("study.json", "*.parquet", "run.json")
    files = {path.relative_to(second).as_posix(): path for name in kept for path in second.rglob(name)}
    wanted = {name: path.read_bytes() for name, path in files.items() if not name.startswith("eval") or "run" in name}
    (tmp_path / "second.tar.gz").write_bytes(_packed("second", wanted))
    for place, out in ((second, "a"), (tmp_path / "second.tar.gz", "b")):
        write_comparison([str(small), str(place)], tmp_path, tmp_path / out)
    assert (tmp_path / "a" / "compare.csv").read_bytes() == (tmp_path / "b" / "compare.csv").read_bytes()


@pytest.mark.parametrize(
    ("keys", "inputs", "message"),
    [
        ({"protocol__max_turns": 5}, {}, "protocol.max_turns is 5, not 3"),
        ({"protocol__prompts__reflection": "again"}, {}, "protocol.prompts.reflection is 'again', not 'Look"),
        ({"retrieval__topk": 5}, {}, "retrieval.topk is 5, not 3"),
        ({"retrieval__retrievers__dense__index": "hnsw"}, {}, "its retriever (dense) has other settings than dense"),
        ({}, {"corpus": "other"}, "its passages are others"),
        ({}, {"index/dense": "other"}, "its index/dense holds other vectors or files"),
        ({"data__seed": 9}, {"questions/two": "other"}, "benchmark two asks other questions: another split"),
        ({"benchmarks__two__source": "x"}, {"questions/two": "other"}, "benchmark two asks other questions"),
        ({"evaluation__decoding__sampled__temperature": 0.5}, {}, "evaluation.decoding.sampled is another way"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_its_reason(
    small: Path, small_study: Study, tmp_path: Path, keys: dict[str, Any], inputs: dict[str, str], message: str
) -> None:
    second = like(small, changed(small_study, name="second", **keys), tmp_path / "second", inputs)
    with pytest.raises(ValueError, match="these cannot be compared with small:") as error:
        write_comparison([str(small), str(second)], tmp_path, tmp_path / "out")
    assert f"second: {message}" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_protocol_or_an_index_may_be_what_is_compared(small: Path, small_study: Study, tmp_path: Path) -> None:
    keys = {"name": "second", "protocol__max_turns": 5, "retrieval__topk": 5}
    second = like(small, changed(small_study, **keys), tmp_path / "second")
    with opened([str(small), str(second)], tmp_path) as sources:
        with pytest.raises(ValueError, match=r"topk is 5, not 3\n--despite index sets them side by side") as error:
            refuse(sources, ["protocol"])
        assert "protocol" not in str(error.value)
    write_comparison([str(small), str(second)], tmp_path, tmp_path / "out", despite=["protocol", "index"])
    text = (tmp_path / "out" / "compare.md").read_text().replace("\\", "")
    assert "second differs from small: protocol.max_turns is 5, not 3." in text


@pytest.mark.parametrize(
    ("places", "options", "message"),
    [
        (["{small}"], {}, "1 study is named: a comparison needs two or more"),
        (["{small}", "{small}"], {}, "is there twice: name another run"),
        (["{small}", "nowhere"], {}, "nowhere: holds no study.json: name a study that ran to its end"),
        (
            ["{small}", "{other}"],
            {"methods": ["nobody"]},
            "--method 'nobody' is in none of the studies: known are direct",
        ),
        (["{small}", "{other}"], {"despite": ["split"]}, "--despite 'split': known are protocol, index"),
    ],
)
def test_what_is_not_there_is_named(
    small: Path, small_study: Study, tmp_path: Path, places: list[str], options: Any, message: str
) -> None:
    other = like(small, changed(small_study, name="other"), tmp_path / "other")
    named = [place.format(small=small, other=other) for place in places]
    with pytest.raises(ValueError) as error:
        write_comparison(named, tmp_path, tmp_path / "out", **options)
    assert message in str(error.value)


def test_the_command_finds_studies_by_name(small: Path, small_study: Study, tmp_path: Path) -> None:
    for name in ("first", "second"):
        like(small, changed(small_study, name=name), tmp_path / name)
    options = ["--results", str(tmp_path), "--out", str(tmp_path / "out"), "--method", "mr_search"]
    done = CliRunner().invoke(app, ["report", "compare", "first", "second", *options], catch_exceptions=False)
    assert done.exit_code == 0
    assert "second: MR-Search" in (tmp_path / "out" / "compare.md").read_text()


def test_tables_refuse_the_metrics_of_another_study(small: Path, small_study: Study, tmp_path: Path) -> None:
    other = changed(small_study, name="other")
    with pytest.raises(ValueError, match=r"holds the metrics of study small, not of other: .*mrsearch report compare"):
        write_tables(other, StudyFolder(small).metrics, tmp_path / "out")
    assert not (tmp_path / "out").exists()
