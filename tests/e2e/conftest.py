"""A copy of the project to run as a user would, and the commands that a user types."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.chromium import browser

from mrsearch.config import Run, Study, load_study
from mrsearch.config.layout import Layout

__all__ = ["Project", "browser", "layout_of", "place", "project", "ran"]

BIN = Path(sys.executable).parent
PATIENCE_SECONDS = 840
SHOWN = 4000
"""Characters of the output that a failure shows."""
PARTS = ("Snakefile", "Makefile", "pyproject.toml", "config", "rules", "profile", "workflow", "envs", "tests")


class Project:
    """One checkout and the results of one study in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def snakemake(self, *arguments: str, config: list[str]) -> str:
        """The output of a run on this machine's profile; fails the test with its end if Snakemake fails."""
        code, output = self.attempt(*arguments, config=config)
        assert code == 0, output[-SHOWN:]
        return output

    def attempt(self, *arguments: str, config: list[str]) -> tuple[int, str]:
        """Exit code and output of a run. One that takes too long is ended with everything that it started."""
        command = [BIN / "snakemake", "--profile", "profile/local", *arguments, "--config", *config]
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            pytest.fail(f"still running after {PATIENCE_SECONDS} s: {output[-SHOWN:]}")
        return process.returncode, output

    def planned(self, config: list[str], *targets: str) -> dict[str, int]:
        """Jobs per rule that a run would start now."""
        _, _, statistics = self.snakemake("-n", *targets, config=config).rpartition("Job stats:")
        table = statistics.partition("\n\n")[0]
        return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


@pytest.fixture(scope="session")
def project(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy in a folder with spaces in its name, with the shared data beside it where the original has it."""
    home = tmp_path_factory.mktemp("a folder with spaces")
    copy = home / "mr search"
    for part in PARTS:
        source = root / part
        if source.is_dir():
            shutil.copytree(source, copy / part, symlinks=True)
        else:
            copy.mkdir(exist_ok=True)
            shutil.copy(source, copy / part)
    if (root.parent / "shared").is_dir():
        (home / "shared").symlink_to(root.parent / "shared")
    return Project(copy)


def place(name: str) -> list[str]:
    """`--config` of the very small study with its results in a folder of the project."""
    return ["study=tests/e2e/tiny.yaml", f"paths={{results: {name}}}"]


def layout_of(project: Project, name: str) -> tuple[Study, Layout]:
    """The study and where its files lie."""
    run = Run.model_validate({"study": "tests/e2e/tiny.yaml", "paths": {"results": str(project.folder / name)}})
    study = load_study(run, project.folder)
    return study, Layout(run, study)


@pytest.fixture(scope="session")
def ran(project: Project) -> Project:
    """The project after one run of the study."""
    project.snakemake(config=place("results"))
    return project
