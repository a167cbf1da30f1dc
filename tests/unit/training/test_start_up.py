"""The phases of a training's start are noted by all its processes and shown to whoever waits."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from mrsearch.training.log import TrainingLog
from mrsearch.training.outlook import Budget
from mrsearch.training.start_up import FILE, FIRST_STEP, StartUp
from mrsearch.training.submit import ProgressLine


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("mrsearch.training.start_up.time.time", lambda: now[0])
    return now


def test_phases_have_their_seconds_and_those_since_the_beginning(
    tmp_path: Path, clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    start = StartUp(tmp_path / "run")
    assert start.phases() == []
    start.begin()
    for seconds, name in ((17.0, "Ray"), (26.0, "workers")):
        clock[0] += seconds
        StartUp(tmp_path / "run").ended(name)
    assert [(phase.name, phase.seconds, phase.since) for phase in start.phases()] == [
        ("Ray", 17.0, 17.0),
        ("workers", 26.0, 43.0),
    ]
    assert start.described() == "Ray 17 s, workers 26 s"
    assert caplog.messages[-1] == "start: workers, 26 s (43 s since the beginning)"
    start.begin()
    assert start.phases() == []


def test_a_line_that_is_being_written_is_no_phase_yet(tmp_path: Path, clock: list[float]) -> None:
    start = StartUp(tmp_path)
    start.begin()
    start.ended("Ray")
    with (tmp_path / FILE).open("a") as file:
        file.write('{"phase": "wor')
    assert [phase.name for phase in start.phases()] == ["Ray"]


def test_who_waits_sees_each_phase_once_and_then_steps(tmp_path: Path, clock: list[float]) -> None:
    start, steps = StartUp(tmp_path), TrainingLog(tmp_path, "paper/mr_search/seed0", Budget(300))
    progress = ProgressLine(steps)
    assert progress() is None
    start.begin()
    clock[0] += 40.0
    start.ended("Ray")
    assert progress() == "paper/mr_search/seed0 starts: Ray after 40 s"
    assert progress() is None
    steps.add({"step": 0, "reward": [0.5], "seconds": 3.0})
    start.ended(FIRST_STEP)
    line = progress()
    assert line is not None and "step 1/300 (0 % of its steps) reward 0.5" in line
