"""`mrsearch wandb-sync` against a server of W&B's API: a training that waited offline, and its evaluations."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.commands import mrsearch
from support.wandb_server import wandb_server

from mrsearch.config import Study, write_study
from mrsearch.config.layout import StudyFolder, record_file, score_file
from mrsearch.tracking import Tracker

pytestmark = pytest.mark.integration


@pytest.fixture
def study(small_study: Study) -> Study:
    """One trained method, and one that runs its policy."""
    raw = small_study.model_dump() | {"seeds": [0]}
    raw["methods"] = {"mr_search": {"episodes": 3, "train": {"algorithm": "mr_search"}}}
    raw["methods"] |= {"borrowing": {"episodes": 2, "policy": "mr_search"}}
    raw["benchmarks"] = {"one": {}, "extra": {"average": False}}
    raw["evaluation"], raw["report"] = {"decoding": {"greedy": {}}}, {"baseline": "mr_search"}
    return Study.model_validate(raw)


def test_trainings_and_evaluations_arrive_once(
    study: Study, make_records: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    folder = StudyFolder(tmp_path / "results" / "small")
    write_study(study, folder.study)
    make_records(study, folder.evaluations, 3)
    described = study.model_dump(mode="json")
    scratch = tmp_path / "results" / "small" / "runs" / "tiny" / "mr_search" / "seed0" / "settings"
    with Tracker.start("small", "tiny", "mr_search", 0, described, scratch) as tracker:
        tracker.log(0, {"reward": [0.25, 0.5]})
    with wandb_server() as (address, received):
        for name, value in {"BASE_URL": address, "API_KEY": "0" * 40, "INIT_TIMEOUT": "60"}.items():
            monkeypatch.setenv(f"WANDB_{name}", value)
        done = mrsearch("wandb-sync", "small", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        sent = len(received.runs)
        assert mrsearch("wandb-sync", "small", cwd=tmp_path).returncode == 0
        assert len(received.runs) == sent == 3, "what has arrived is not sent again"
    training = received.history[tracker.run_id or ""]
    assert [(row["reward/1"], row["reward/2"]) for row in training] == [(0.25, 0.5)]
    assert received.finished[tracker.run_id or ""] == 0
    evaluations = {run["displayName"]: run for run in received.runs.values() if run["jobType"] == "evaluate"}
    assert set(evaluations) == {"small/tiny/mr_search/seed0", "small/tiny/borrowing/seed0"}
    assert {run["groupName"] for run in received.runs.values()} == {"small/tiny/mr_search"}
    for method in ("mr_search", "borrowing"):
        run = evaluations[f"small/tiny/{method}/seed0"]["name"]
        assert_scores(received.history[run][0], folder.records("tiny", method, 0))
        (table,) = [json.loads(data) for path, data in received.files.items() if path.startswith(f"{run}/media/table/")]
        episodes = study.methods[method].episodes
        assert len(table["data"]) == 2 * 3 * episodes
        row = dict(zip(table["columns"], table["data"][0], strict=True))
        assert (row["benchmark"], row["golden_answers"], row["episode"]) == ("one", "right", 1)
        assert row["em"] == float(row["answer"] == "right") and "made up" in row["transcript"]
    referred = [artifact for artifact in received.artifacts if artifact["artifactTypeName"] == "meta-episodes"]
    assert len(referred) == 2


def assert_scores(row: dict[str, Any], out: Path) -> None:
    """The row holds the means of the files of scores, by benchmark."""
    for benchmark in ("one", "extra"):
        assert record_file(out, benchmark, "greedy").is_file()
        scores = pd.read_parquet(score_file(out, benchmark, "greedy"))
        for metric, column in (("em", "em_final"), ("f1", "f1_final"), ("total_tokens", "total_tokens")):
            assert row[f"greedy/{benchmark}/{metric}"] == pytest.approx(scores[column].mean())
        assert row[f"greedy/{benchmark}/searches"] == pytest.approx(scores["searches"].map(sum).mean())
        assert row[f"greedy/{benchmark}/em_episode/1"] == pytest.approx(
            scores["em"].map(lambda values: values[0]).mean()
        )
        assert row[f"greedy/{benchmark}/questions"] == 3
