"""A sliding window of meta-episodes, and the journal that keeps what it finishes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from support.made_up import made_record

from mrsearch.agent.answers import JOURNAL, answers
from mrsearch.agent.batch import NoPolicy
from mrsearch.agent.journal import Journal
from mrsearch.agent.records import MetaEpisode
from mrsearch.agent.window import run_window
from mrsearch.config import Study
from mrsearch.progress import Meter

NAMES = [f"q{number}" for number in range(6)]


def record_of(study: Study, number: int) -> MetaEpisode:
    return made_record(study, ("tiny", "mr_search", 0, "greedy", "two_hop"), number)


def answered(study: Study, folder: Path, *, broken: int | None = None) -> tuple[list[MetaEpisode], list[int]]:
    """The records of all questions, and which of them were made now; the question `broken` ends with an error."""
    made: list[int] = []

    async def answer(number: int) -> MetaEpisode:
        await asyncio.sleep(0)
        if number == broken:
            raise ValueError("no such passage")
        made.append(number)
        return record_of(study, number)

    jobs = [(name, partial(answer, number)) for number, name in enumerate(NAMES)]
    meter = Meter("questions", len(jobs))
    records = list(asyncio.run(answers(jobs, NoPolicy(), 2, folder, meter, whole_batches=False)))
    assert meter._done == len(jobs)
    return records, sorted(made)


def test_the_next_begins_as_soon_as_one_has_ended(small_study: Study, tmp_path: Path) -> None:
    """Question 0 ends last: in chunks of two it would hold up all others."""
    begun: list[int] = []
    running: set[int] = set()
    most = 0

    async def play(number: int, others: asyncio.Event) -> MetaEpisode:
        nonlocal most
        begun.append(number)
        running.add(number)
        most = max(most, len(running))
        await (others.wait() if number == 0 else asyncio.sleep(0))
        running.remove(number)
        if number == len(NAMES) - 1:
            others.set()
        return record_of(small_study, number)

    async def run() -> list[MetaEpisode]:
        others = asyncio.Event()
        journal = Journal(tmp_path / "journal", NAMES)
        jobs = [(name, partial(play, number, others)) for number, name in enumerate(NAMES)]
        await asyncio.wait_for(run_window(jobs, NoPolicy(), 2, journal), 30)
        return list(journal)

    assert asyncio.run(run()) == [record_of(small_study, number) for number in range(6)], "in the order of their jobs"
    assert begun == list(range(6)) and most == 2


def test_what_is_kept_is_not_asked_again(small_study: Study, tmp_path: Path) -> None:
    whole, made = answered(small_study, tmp_path)
    assert made == list(range(6)) and whole == [record_of(small_study, number) for number in range(6)]
    assert answered(small_study, tmp_path) == (whole, [])


def test_an_error_keeps_what_was_finished_before_it(small_study: Study, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such passage"):
        answered(small_study, tmp_path, broken=4)
    kept = [number for number in range(6) if number in Journal(tmp_path / JOURNAL, NAMES)]
    assert {0, 1, 2} <= set(kept) and 4 not in kept
    whole, made = answered(small_study, tmp_path)
    assert made == [number for number in range(6) if number not in kept]
    assert whole == [record_of(small_study, number) for number in range(6)]


def flip(path: Path, place: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)


def zeros_at_the_end(path: Path) -> None:
    size = path.stat().st_size
    os.truncate(path, size - 300)
    os.truncate(path, size)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "gone": Path.unlink,
    "empty": lambda path: os.truncate(path, 0),
    "one byte short": lambda path: os.truncate(path, path.stat().st_size - 1),
    "cut in the middle": lambda path: os.truncate(path, path.stat().st_size // 2),
    "zeros at the end": zeros_at_the_end,
    "other first line": lambda path: flip(path, 3),
    "other byte in the middle": lambda path: flip(path, path.stat().st_size // 2),
    "more behind it": lambda path: path.write_bytes(path.read_bytes() + b"0 99999999999999 0\nxyz"),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_what_is_damaged_is_made_again(small_study: Study, tmp_path: Path, kind: str) -> None:
    whole, _ = answered(small_study, tmp_path)
    DAMAGES[kind](tmp_path / JOURNAL)
    again, made = answered(small_study, tmp_path)
    assert again == whole and (len(made) < 6 or kind in ("gone", "empty", "other first line"))
    assert answered(small_study, tmp_path) == (whole, []), "and kept"


def test_a_journal_of_other_questions_is_made_anew(small_study: Study, tmp_path: Path) -> None:
    answered(small_study, tmp_path)
    assert len(Journal(tmp_path / JOURNAL, NAMES)) == 6
    assert len(Journal(tmp_path / JOURNAL, [*NAMES[:5], "q7"])) == 0


def test_a_missing_record_is_named(tmp_path: Path, small_study: Study) -> None:
    journal = Journal(tmp_path / "journal", NAMES)
    asyncio.run(journal.add(0, record_of(small_study, 0)))
    with pytest.raises(ValueError, match="job 1 of 6 has no record"):
        list(journal)


@pytest.mark.parametrize(("concurrency", "names"), [(0, ["a", "b"]), (2, ["a", "a"])])
def test_a_window_that_cannot_run_is_refused(tmp_path: Path, concurrency: int, names: list[str]) -> None:
    async def never() -> MetaEpisode:
        raise AssertionError

    jobs = [(name, never) for name in names]
    with pytest.raises(ValueError, match=r"at least 1|same request id"):
        asyncio.run(run_window(jobs, NoPolicy(), concurrency, Journal(tmp_path / "journal", names)))
