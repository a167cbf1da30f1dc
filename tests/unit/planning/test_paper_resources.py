"""What the paper's studies ask for is more than what their stages were measured to take, at the paper's size."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrsearch.config import Run, Study, load_study
from mrsearch.config.shared_policies import shared_policies
from mrsearch.planning import needs, speed
from mrsearch.planning.plan import Plan

STAGES = {"store": "data", "import": "index", "verify": "index", "open": "retriever", "search": "retriever"}
STAGES |= {"report viewer": "report", "report metrics": "report"}
"""Measured stages of benchmarks/scaling.csv, and the stage of the study whose job they are part of."""
VECTORS = {"import", "verify", "open", "search"}
"""What grows with the vectors' dimensions, of which 64 were measured."""
RECORDS = 1_062_240
"""Of one seed of the paper study."""


def size_of(stage: str) -> int:
    """Records, or passages, that a stage handles."""
    return RECORDS if STAGES[stage] == "report" else needs.WIKI_PASSAGES


def at_papers_size(root: Path) -> Iterator[tuple[str, float, float]]:
    """Stage of the study, CPU minutes and MB by the line through the smallest and the largest measured size."""
    with (root / "benchmarks" / "scaling.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for stage in STAGES:
        points = sorted((row for row in rows if row["stage"] == stage), key=lambda row: int(row["size"]))
        assert len({row["size"] for row in points}) >= 2, f"{stage}: one size alone makes no line"
        first, last = points[0], points[-1]
        further = (size_of(stage) - int(last["size"])) / (int(last["size"]) - int(first["size"]))
        reached = {
            key: float(last[key]) + further * max(0.0, float(last[key]) - float(first[key]))
            for key in ("cpu_s", "peak_bytes")
        }
        width = needs.HUB_DIMENSIONS / 64 if stage in VECTORS else 1
        yield STAGES[stage], width * reached["cpu_s"] / 60, width * reached["peak_bytes"] / 1e6


@pytest.fixture(scope="module", params=["paper", "paper-7b-8x80", "paper-3b-lora-1x80"])
def study(request: pytest.FixtureRequest, root: Path) -> Study:
    return load_study(Run(study=request.param), root)


def test_what_was_measured_fits_into_what_is_asked_for(study: Study, root: Path) -> None:
    for stage, minutes, megabytes in at_papers_size(root):
        asked = getattr(study.resources, stage)
        assert megabytes < asked.mem_mb, stage
        assert minutes < asked.runtime, stage


def test_the_report_asks_for_no_more_than_ten_times_what_it_takes(study: Study, root: Path) -> None:
    largest = max(megabytes for stage, _, megabytes in at_papers_size(root) if stage == "report")
    assert study.resources.report.mem_mb <= 10 * largest


def test_what_indexes_and_weights_need_is_asked_for(study: Study) -> None:
    for stage in study.active_stages():
        resources = getattr(study.resources, stage)
        assert needs.memory_bytes(study, stage, resources) < 1e6 * resources.mem_mb, stage


def test_every_evaluation_ends_in_its_time(study: Study) -> None:
    """On the slower of two cards of 80 GB, with all methods of a policy in one job."""
    sharing = study.model_copy(update={"evaluation": study.evaluation.model_copy(update={"share_policy": True})})
    rows = list(Plan(sharing, speed.card_named("a100"), speed.Assumptions()).rows())
    hours = {(row.model, row.stage.removeprefix("evaluation: ")): row.hours for row in rows}
    for methods in shared_policies(sharing):
        for model in study.models:
            assert 0 < sum(hours[model, method] for method in methods) < study.resources.evaluate.runtime / 60
