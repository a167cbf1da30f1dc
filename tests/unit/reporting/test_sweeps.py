"""The sweep of the docs: three learning rates, two group sizes, two seeds, one table and one figure."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from support.made_up import write_made_records

from mrsearch.config import Run, Study, load_study, stages
from mrsearch.evaluation.choices import HEADLINE
from mrsearch.evaluation.metrics import write_metrics
from mrsearch.reporting import contents
from mrsearch.reporting.figures import style
from mrsearch.reporting.figures.sweep import sweep_by_value
from mrsearch.reporting.frame import Metrics
from mrsearch.reporting.sweeps import sweeps
from mrsearch.reporting.tables.sweep import sweep_rows, sweep_table

PATH = "docs/guides/sweep.yaml"
FEW = {"benchmarks": {"one": {}, "two": {}}}


@pytest.fixture(scope="module")
def study(root: Path) -> Study:
    return load_study(Run(study=PATH), root)


@pytest.fixture(scope="module")
def metrics(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Metrics:
    few, folder = load_study(Run(study=PATH, overrides=FEW), root), tmp_path_factory.mktemp("sweep")
    write_metrics(
        few, write_made_records(few, folder / "eval", 4), folder / "scores.parquet", folder / "metrics.parquet"
    )
    return Metrics(few, folder / "metrics.parquet")


def test_the_study_has_every_combination_and_one_warm_start(study: Study) -> None:
    (points,) = sweeps(study).values()
    settings = [(study.training_of(name).learning_rate, study.training_of(name).group_size) for name in points]
    assert settings == [(rate, size) for rate in (1e-4, 2e-4, 4e-4) for size in (3, 5)]
    assert study.seeds == (0, 1)
    assert len({stages.train(study, "tiny", name) for name in points}) == 6
    starts = [train.start for name in points if (train := study.methods[name].train)]
    assert starts == ["warm_start"] * 6
    assert "sweep" in contents.tables(study) and "sweep" in contents.figures(study)


def test_the_table_has_points_and_then_mean_and_spread_by_value(metrics: Metrics) -> None:
    rows = list(sweep_rows(metrics))
    assert [(row["key"], row["setting"]) for row in rows[6:]] == [
        *(("learning_rate", rate) for rate in (1e-4, 2e-4, 4e-4)),
        *(("group_size", size) for size in (3, 5)),
    ]
    by_seed = {
        (row["method"], seed): metrics.at("tiny", "greedy", row["method"], "average", "em", HEADLINE, seed=seed).value
        for row in rows[:6]
        for seed in ("0", "1")
    }
    of_rate = [value for (method, _), value in by_seed.items() if "learning_rate_0.0002" in method]
    row = rows[7]
    assert row["runs"] == len(of_rate) == 4
    assert row["em"] == pytest.approx(sum(of_rate) / 4)
    assert (row["lowest"], row["highest"]) == (min(of_rate), max(of_rate))
    variance = sum((value - row["em"]) ** 2 for value in of_rate) / 3
    assert row["sd"] == pytest.approx(variance**0.5)
    (block,) = sweep_table(metrics).blocks
    assert block.rows[0][0].text == "MR-Search, learning_rate 0.0001, group_size 3"
    assert [cells[0].text for cells in block.closing][-1] == "group_size = 5"


def test_the_figure_draws_every_run(metrics: Metrics, tmp_path: Path) -> None:
    with style.styled():
        sweep_by_value(metrics, tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {f".{kind}" for kind in contents.FIGURE_KINDS}
    with (tmp_path / "sweep.csv").open(newline="") as file:
        drawn = list(csv.DictReader(file))
    assert {row["value"] for row in drawn if row["key"] == "group_size"} == {"3", "5"}
    assert [sum(row["key"] == key for row in drawn) for key in ("learning_rate", "group_size")] == [12, 12]
