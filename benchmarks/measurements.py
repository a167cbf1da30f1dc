"""Measurements as rows of a CSV file, each stage in a process of its own: CPU seconds, peak memory, bytes on disk."""

from __future__ import annotations

import csv
import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path

COLUMNS = ("stage", "size", "dim", "cpu_s", "wall_s", "peak_bytes", "disk_bytes")


def in_a_child(work: Callable[[], object]) -> dict[str, float]:
    """CPU seconds, wall seconds and peak memory of `work` in a fork of this process; its result is dropped."""
    began = time.perf_counter()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:  # the parent ends with its status
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status, used = os.wait4(child, 0)
    if status:
        raise SystemExit(f"a measured process ended with status {status}")
    spent = used.ru_utime + used.ru_stime
    return {"cpu_s": spent, "wall_s": time.perf_counter() - began, "peak_bytes": used.ru_maxrss * 1024}


def add_row(path: Path | None, **row: object) -> None:
    """Append a row, with a header where the file is new; without a path nothing."""
    if path is None:
        return
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if new:
            writer.writeheader()
        rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}
        writer.writerow(rounded)


def size_of(folder: Path) -> int:
    """Bytes of a folder's files."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
