"""The sweep that ships with the docs, trained and evaluated for real at a very small size, to its table and figure."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path

import pytest
from support.finished_study import evaluate_study, train_study
from support.project import ROOT

from mrsearch.config import Run, load_study
from mrsearch.config.layout import Layout
from mrsearch.config.run import Paths
from mrsearch.reporting.figures import style
from mrsearch.reporting.figures.sweep import sweep_by_value
from mrsearch.reporting.frame import Metrics
from mrsearch.reporting.sweeps import sweeps
from mrsearch.reporting.tables.files import write_table
from mrsearch.reporting.tables.sweep import sweep_rows, sweep_table

pytestmark = pytest.mark.integration
SMALL = {
    "data.train_entities": 30,
    "data.test_entities": 30,
    "data.train_questions": 8,
    "data.questions_per_benchmark": 1,
    "models.tiny": {"kind": "tiny", "hidden_size": 32, "layers": 1, "heads": 2, "kv_heads": 2, "intermediate_size": 64},
    "protocol.max_turns": 1,
    "protocol.max_turn_tokens": 16,
    "warm_start.steps": 1,
    "warm_start.train_batch_size": 2,
    "warm_start.demonstrations": 4,
    "training.steps": 1,
    "training.train_batch_size": 2,
    "training.mini_batch_size": 2,
    "benchmarks": {"single_hop": {}},
}


def test_every_point_is_trained_and_ends_in_one_table_and_one_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    paths = Paths(results=str(tmp_path / "results"), resources=str(tmp_path / "resources"))
    run = Run(study="docs/guides/sweep.yaml", paths=paths, overrides=SMALL)
    study = load_study(run, ROOT)
    layout = Layout(run, study)
    train_study(study, layout)
    evaluate_study(study, layout)
    (methods,) = sweeps(study).values()
    assert len(methods) == 3 * 2 and study.seeds == (0, 1)
    for seed, method in itertools.product(study.seeds, methods):
        log = layout.train_log("tiny", method, seed).read_text().splitlines()
        assert [json.loads(row)["step"] for row in log] == [0]
    metrics = Metrics(study, layout.metrics)
    write_table(sweep_table(metrics), sweep_rows(metrics), layout.tables)
    with style.styled():
        sweep_by_value(metrics, layout.figures)
    rows = list(csv.DictReader((layout.tables / "sweep.csv").open()))
    assert [row["runs"] for row in rows] == ["2"] * 6 + ["4"] * 3 + ["6"] * 2
    assert (layout.figures / "sweep.svg").stat().st_size > 0
