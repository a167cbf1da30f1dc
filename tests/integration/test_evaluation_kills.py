"""An evaluation killed ten times at random goes on with the first unanswered chunk and ends with the same records."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import time
from functools import partial
from pathlib import Path

import pytest
from support.evaluations import evaluated_study, make_inputs, run_evaluation
from support.made_up import made_record

from mrsearch.agent.answers import JOURNAL, answers
from mrsearch.agent.batch import NoPolicy
from mrsearch.agent.journal import Journal
from mrsearch.agent.record_files import read_records
from mrsearch.agent.records import MetaEpisode
from mrsearch.config import Run, Study, load_study
from mrsearch.progress import Meter

pytestmark = pytest.mark.integration
KILLS = 10
QUESTIONS = 24
NAMES = [f"q{number}" for number in range(120)]


def done(folder: Path) -> dict[str, int]:
    """Finished chunks and files, and which file on disk each is."""
    return {str(path.relative_to(folder)): path.stat().st_ino for path in folder.rglob("*.jsonl.zst")}


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
        name = f"eval/{benchmark}.sampled.jsonl.zst"
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
        assert len(list(read_records(killed / name))) == QUESTIONS
    assert not (killed / "cache").exists()


def answer_in_window(study: Study, folder: Path) -> None:
    """Questions by a server that takes a while, each noted when it begins."""

    async def answer(number: int) -> MetaEpisode:
        with (folder / "begun").open("a") as begun:
            begun.write(f"{number}\n")
        await asyncio.sleep(random.Random(number).random() * 0.05)
        return made_record(study, ("tiny", "mr_search", 0, "greedy", "two_hop"), number)

    jobs = [(name, partial(answer, number)) for number, name in enumerate(NAMES)]
    asyncio.run(answers(jobs, NoPolicy(), 4, folder, Meter("questions", len(jobs)), whole_batches=False))


def test_ten_kills_ask_a_server_nothing_twice(root: Path, tmp_path: Path):
    study = load_study(Run(study="demo"), root)
    context, rng, begun = multiprocessing.get_context("fork"), random.Random(7), tmp_path / "begun"
    for number in range(KILLS + 1):
        kept = {n for n in range(len(NAMES)) if n in Journal(tmp_path / JOURNAL, NAMES)}
        begun.write_text("")
        job = context.Process(target=answer_in_window, args=(study, tmp_path))
        job.start()
        if number < KILLS:
            deadline = time.monotonic() + 60
            # Now and then the kill comes before any question.
            while number % 4 and not begun.read_text():
                assert time.monotonic() < deadline, "nothing began in a minute"
                time.sleep(0.001)
            time.sleep(rng.random() * 0.1)
            assert job.is_alive(), f"all was answered before kill {number + 1}"
            job.kill()
        job.join()
        assert not kept & {int(line) for line in begun.read_text().split()}, "a finished question was asked again"
    assert job.exitcode == 0 and kept, "something was finished between the kills"
    records = [made_record(study, ("tiny", "mr_search", 0, "greedy", "two_hop"), n) for n in range(len(NAMES))]
    assert list(Journal(tmp_path / JOURNAL, NAMES)) == records
