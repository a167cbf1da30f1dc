"""The unit tests' folders mirror the package, and no unit test starts a process or looks at a clock."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.project import ROOT

UNIT, SOURCE = ROOT / "tests" / "unit", ROOT / "src" / "mrsearch"
WHOLE_PROJECT = {
    *("docs_examples", "docs_facts", "layout_of_tests", "locks", "one_home", "project_files", "rooms"),
    "words",
}
"""Tests in the top folder that are of no module."""
FILES = sorted(UNIT.rglob("test_*.py"))
STARTERS = {"subprocess", "multiprocessing", "os.fork", "os.system", "os.posix_spawn", "asyncio.create_subprocess_exec"}
CLOCKS = {"time.perf_counter", "time.process_time", "time.thread_time", "timeit"}
"""Clocks that serve nothing but measuring; `time.monotonic` also bounds how long a test waits."""


def used(path: Path) -> Iterator[str]:
    """Modules that a file imports, and the attributes of modules that it reads, with dots."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"


@pytest.mark.parametrize("folder", sorted({path.parent for path in FILES}), ids=lambda path: path.name)
def test_a_folder_mirrors_a_folder_of_the_package(folder: Path) -> None:
    assert (SOURCE / folder.relative_to(UNIT)).is_dir()


def test_a_file_at_the_top_is_of_a_module_or_of_the_whole_project() -> None:
    modules = {path.stem for path in SOURCE.glob("*.py")}
    names = {path.stem.removeprefix("test_") for path in UNIT.glob("test_*.py")}
    alone = {name for name in names - WHOLE_PROJECT if not any(name.startswith(module) for module in modules)}
    assert alone == set()
    assert names >= WHOLE_PROJECT, "listed, and not there"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(UNIT).as_posix())
def test_no_unit_test_starts_a_process(path: Path) -> None:
    assert STARTERS.isdisjoint(used(path)), "move it to tests/integration"


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: path.stem)
def test_no_test_measures_time(path: Path) -> None:
    assert CLOCKS.isdisjoint(used(path)), "count what matters; speed is benchmarks' business"


def test_a_start_is_seen_however_it_is_written(tmp_path: Path) -> None:
    lines = ("import subprocess", "from subprocess import run", "import os\nos.fork()", "from os import fork")
    for line in lines:
        (tmp_path / "file.py").write_text(line)
        assert not STARTERS.isdisjoint(used(tmp_path / "file.py")), line
