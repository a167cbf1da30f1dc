"""An evaluation killed ten times at random goes on with the first unanswered chunk and ends with the same records."""

from __future__ import annotations

import multiprocessing
import random
import time
from pathlib import Path

import pytest
from support.evaluations import evaluated_study, make_inputs, run_evaluation

from mrsearch.agent.records import read_records

pytestmark = pytest.mark.integration
KILLS = 10
QUESTIONS = 24


def done(folder: Path) -> dict[str, int]:
    """Finished chunks and files, and which file on disk each is."""
    return {str(path.relative_to(folder)): path.stat().st_ino for path in folder.rglob("*.jsonl.gz")}


def test_ten_kills_change_nothing(tmp_path):
    study = evaluated_study(
        QUESTIONS,
        methods={"search_r1": {"policy": "base", "episodes": 2, "max_turns": 2}},
        evaluation={"decoding": {"sampled": {"temperature": 1.0}}, "concurrency": 3},
        report={"decoding": "sampled"},
    )
    make_inputs(study, tmp_path)
    context, rng = multiprocessing.get_context("fork"), random.Random(5)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    known: dict[str, int] = {}
    for number in range(KILLS):
        job = context.Process(target=run_evaluation, args=(study, tmp_path, killed, "search_r1"))
        job.start()
        deadline = time.monotonic() + 120
        # Now and then the kill comes before any progress, else after at least one more chunk.
        while number % 4 and not set(done(killed).values()) - set(known.values()) and job.is_alive():
            assert time.monotonic() < deadline, "no chunk in two minutes"
            time.sleep(0.001)
        time.sleep(rng.random() * 0.05)
        assert job.is_alive(), f"the evaluation ended before kill {number + 1}"
        job.kill()
        job.join()
        now = done(killed)
        assert all(now[name] == inode for name, inode in known.items() if name in now), (
            "a finished chunk was made again"
        )
        known = now
    assert known, "something was finished between the kills"
    for out in (killed, whole):
        job = context.Process(target=run_evaluation, args=(study, tmp_path, out, "search_r1"))
        job.start()
        job.join()
        assert job.exitcode == 0
    for benchmark in study.benchmarks:
        name = f"eval/{benchmark}.sampled.jsonl.gz"
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
        assert len(list(read_records(killed / name))) == QUESTIONS
    assert not (killed / "cache").exists()
