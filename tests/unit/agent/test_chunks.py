"""Waves of meta-episodes that were kept: a wave that is not whole any more is made again, and only that one."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import zstandard
from support.made_up import made_record

from mrsearch.agent.answers import answers
from mrsearch.agent.batch import NoPolicy
from mrsearch.agent.record_files import read_records, write_records, write_sealed_records
from mrsearch.agent.records import MetaEpisode
from mrsearch.config import Study
from mrsearch.progress import Meter
from mrsearch.seal import is_sealed


def answered(study: Study, kept: Path, count: int = 6) -> tuple[list[MetaEpisode], list[int]]:
    """The records of so many questions, and which of them were made now."""
    made: list[int] = []

    async def answer(number: int) -> MetaEpisode:
        made.append(number)
        return made_record(study, ("tiny", "mr_search", 0, "greedy", "two_hop"), number)

    jobs = [(f"q{number}", partial(answer, number)) for number in range(count)]
    meter = Meter("questions", count)
    return list(asyncio.run(answers(jobs, NoPolicy(), 2, kept, meter, whole_batches=True))), sorted(made)


def _of_another_wave(path: Path) -> None:
    shutil.copyfile(path.with_name("000000.jsonl.zst"), path)


def _fewer(path: Path) -> None:
    write_records(path, list(read_records(path))[:1])


def _zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _other_bytes(path: Path) -> None:
    path.write_bytes(path.read_bytes() + zstandard.compress(b"\n"))


DAMAGES: dict[str, Callable[[Path], None]] = {
    "cut to 0": lambda path: os.truncate(path, 0),
    "cut to 200": lambda path: os.truncate(path, 200),
    "one byte short": lambda path: os.truncate(path, path.stat().st_size - 1),
    "zeros": _zeros,
    "another wave": _of_another_wave,
    "fewer records": _fewer,
    "other bytes": _other_bytes,
    "no seal": lambda path: path.with_name(f"{path.name}.sealed.json").unlink(),
    "cut seal": lambda path: os.truncate(path.with_name(f"{path.name}.sealed.json"), 5),
    "gone": Path.unlink,
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_wave_alone_is_made_again(small_study: Study, tmp_path: Path, kind: str) -> None:
    whole, made = answered(small_study, tmp_path)
    assert made == list(range(6))
    assert answered(small_study, tmp_path) == (whole, [])
    DAMAGES[kind](tmp_path / "000001.jsonl.zst")
    assert answered(small_study, tmp_path) == (whole, [2, 3])


def test_a_wave_of_another_size_is_made_again(small_study: Study, tmp_path: Path) -> None:
    answered(small_study, tmp_path, count=5)
    whole, made = answered(small_study, tmp_path, count=6)
    assert made == [4, 5] and len(whole) == 6


def test_a_writer_killed_before_the_name_leaves_no_file(
    small_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    record = made_record(small_study, ("tiny", "mr_search", 0, "greedy", "two_hop"), 0)
    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_sealed_records(tmp_path / "a.jsonl.zst", [record])
    monkeypatch.undo()
    assert not is_sealed(tmp_path / "a.jsonl.zst")
    write_sealed_records(tmp_path / "a.jsonl.zst", [record])
    assert is_sealed(tmp_path / "a.jsonl.zst", 1) and not is_sealed(tmp_path / "a.jsonl.zst", 2)


@pytest.mark.parametrize("size", [1, 200, -1, -9])
def test_a_cut_file_is_named_where_it_is_read(small_study: Study, tmp_path: Path, size: int) -> None:
    records = [made_record(small_study, ("tiny", "mr_search", 0, "greedy", "two_hop"), n) for n in range(3)]
    path = tmp_path / "a.jsonl.zst"
    write_records(path, records)
    os.truncate(path, size if size > 0 else path.stat().st_size + size)
    with pytest.raises(ValueError, match=r"a\.jsonl\.zst"):
        list(read_records(path))
