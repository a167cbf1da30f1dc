"""An experiment's table and figure: differences by knob, tests corrected over all points."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.made_up import write_made_records

from mrsearch.config import Run, load_study
from mrsearch.evaluation.choices import HEADLINE
from mrsearch.evaluation.metrics import write_metrics
from mrsearch.evaluation.significance import holm
from mrsearch.reporting import contents
from mrsearch.reporting.figures import style
from mrsearch.reporting.figures.experiment import differences_by_knob
from mrsearch.reporting.frame import Metrics
from mrsearch.reporting.tables.experiment import experiment_rows, experiment_table
from mrsearch.reporting.tables.knob_points import knob_points

STUDY: dict[str, Any] = {
    "extends": "demo",
    "name": "small",
    "seeds": [0, 1],
    "methods": {"*": None, "warm_start": {}, "search_r1": {}, "search_r1_long": {"compare_with": None}},
    "experiment": {
        "method": "search_r1_long",
        "against": ["search_r1"],
        "knobs": {
            "gamma": {"points": {"1": {}, "0": {"*": {"train.gamma": 0.0}}}},
            "turns": {"label": "Turns", "points": {"10": {}, "5": {"search_r1_long": {"max_turns": 5}}}},
        },
    },
    "evaluation": {"decoding": {"sampled": None}},
}
FEW = {"benchmarks": {"one": {}, "two": {}}}


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> Metrics:
    folder = tmp_path_factory.mktemp("experiment")
    (folder / "small.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False))
    study = load_study(Run(study=str(folder / "small.yaml"), overrides=FEW))
    records = write_made_records(study, folder / "eval", 6)
    write_metrics(study, records, folder / "scores.parquet", folder / "metrics.parquet")
    return Metrics(study, folder / "metrics.parquet")


def test_points_have_the_difference_of_means_and_one_family_of_tests(metrics: Metrics) -> None:
    points = knob_points(metrics, "tiny", "greedy", "search_r1")
    assert [(point.knob, point.value) for point in points] == [
        *(("gamma", value) for value in ("1", "0")),
        *(("turns", value) for value in ("10", "5")),
    ]
    assert [point.comparison.method for point in points] == [
        "search_r1_long",
        "search_r1_long-gamma_0",
        "search_r1_long",
        "search_r1_long-turns_5",
    ]
    assert [point.comparison.reference for point in points][1::2] == ["search_r1-gamma_0", "search_r1"]
    for point in points:
        ours, theirs = (
            metrics.at("tiny", "greedy", method, "average", "em", HEADLINE).value
            for method in (point.comparison.method, point.comparison.reference)
        )
        assert point.difference.value == pytest.approx(ours - theirs)
        assert point.difference.low < point.difference.value < point.difference.high
        assert (point.difference.n, point.difference.seeds) == (12, 2)
    distinct = [points[0], points[1], points[3]]
    corrected = holm([point.significance.p for point in distinct])
    assert [point.significance.corrected for point in distinct] == corrected
    assert points[2].significance == points[0].significance


def test_the_table_has_a_block_per_knob(metrics: Metrics) -> None:
    table, rows = experiment_table(metrics), list(experiment_rows(metrics))
    assert table.header[1:] == ["Search-R1 (one long episode)", "minus Search-R1 (95% interval)"]
    assert [block.title.rpartition(": ")[2] for block in table.blocks] == ["gamma", "Turns"]
    assert [[row[0].text for row in block.rows] for block in table.blocks] == [["1", "0"], ["10", "5"]]
    first = rows[0]
    low, high = 100 * first["difference_low"], 100 * first["difference_high"]
    assert table.blocks[0].rows[0][2].text == f"{100 * first['difference']:+.1f} [{low:+.1f}, {high:+.1f}]"
    assert "settings of their own" not in table.notes[-1]
    assert any("Holm over the 3 points" in note for note in table.notes)
    assert first["difference"] == pytest.approx(first["em"] - first["em_compared_with"])
    assert [(row["knob"], row["setting"]) for row in rows][-1] == ("turns", "5")


def test_the_figure_draws_every_point(metrics: Metrics, tmp_path: Path) -> None:
    with style.styled():
        differences_by_knob(metrics, tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {f".{kind}" for kind in contents.FIGURE_KINDS}
    with (tmp_path / "experiment.csv").open(newline="") as file:
        drawn = list(csv.DictReader(file))
    assert [(row["knob"], row["setting"], row["against"]) for row in drawn] == [
        ("gamma", "1", "search_r1"),
        ("gamma", "0", "search_r1"),
        ("turns", "10", "search_r1"),
        ("turns", "5", "search_r1"),
    ]
    assert all(float(row["low"]) < float(row["difference"]) < float(row["high"]) for row in drawn)
    assert "experiment" in contents.tables(metrics.study) and "experiment" in contents.figures(metrics.study)
