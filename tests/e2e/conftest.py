"""A copy of the project to run as a user would, and the commands that a user types."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
MINUTES = 60
PARTS = ("Snakefile", "config", "rules", "profile", "workflow", "envs", "tests")


class Project:
    """One checkout and the results of one study in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def snakemake(self, *arguments: str, config: list[str]) -> subprocess.CompletedProcess[str]:
        """Run on this machine's profile; fails the test with the whole output if Snakemake fails."""
        done = self.attempt(*arguments, config=config)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def attempt(self, *arguments: str, config: list[str]) -> subprocess.CompletedProcess[str]:
        """Run, whatever comes of it."""
        command = [BIN / "snakemake", "--profile", "profile/local", *arguments, "--config", *config]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=12 * MINUTES
        )

    def planned(self, config: list[str]) -> dict[str, int]:
        """Jobs per rule that a run would start now."""
        done = self.snakemake("-n", config=config)
        table = (done.stdout + done.stderr).rpartition("Job stats:")[2].partition("\n\n")[0]
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
