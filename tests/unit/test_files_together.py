"""Files that appear whole: copies of one job at once do not meet, and who waits for a lock knows it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from mrsearch.files import atomic_file, atomic_folder, locked, publish_folder

WRITERS = 6


def together(count: int, work: Callable[[int], None]) -> None:
    """Run `work` that often at the same time; the first error is raised."""
    barrier, errors = threading.Barrier(count), []

    def run(number: int) -> None:
        barrier.wait()
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_copies_of_a_file_do_not_meet(tmp_path: Path) -> None:
    out = tmp_path / "records.jsonl"

    def write(number: int) -> None:
        for _ in range(20):
            with atomic_file(out) as part:
                part.write_text(f"{number}\n" * 1000)

    together(WRITERS, write)
    assert len(set(out.read_text().splitlines())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["records.jsonl"]


def test_copies_of_a_folder_do_not_meet(tmp_path: Path) -> None:
    out = tmp_path / "corpus"

    def write(number: int) -> None:
        for _ in range(3):
            with atomic_folder(out) as part:
                for name in "abc":
                    (part / name).write_text(str(number))

    together(WRITERS, write)
    assert sorted(path.name for path in out.iterdir()) == ["a", "b", "c"]
    assert len({path.read_text() for path in out.iterdir()}) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


def test_a_folder_takes_the_place_of_a_file_and_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "thesis").write_text("mine")
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "part").mkdir()
    publish_folder(tmp_path / "part", tmp_path / "out")
    assert not (tmp_path / "out").is_symlink() and (tmp_path / "elsewhere" / "thesis").exists()


def test_who_waits_for_a_lock_knows_it(tmp_path: Path) -> None:
    waits: list[bool] = []
    second = threading.Thread(target=lambda: waits.append(lock()))

    def lock() -> bool:
        with locked(tmp_path / "lock") as waited:
            return waited

    with locked(tmp_path / "lock") as waited:
        assert not waited
        second.start()
        time.sleep(0.3)
    second.join(30)
    assert waits == [True]
