"""The revision of the code, as git knows it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mrsearch import runlog

pytestmark = pytest.mark.integration


def revision_of(package: Path) -> dict | None:
    """What the record says about git where the package lies in this folder."""
    code = "from mrsearch import runlog; import json; print(json.dumps(runlog._git()))"
    environment = {
        "PYTHONPATH": str(package.parent),
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(package.parent),
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_revision_is_that_of_the_checkout_the_code_runs_from(tmp_path):
    package = tmp_path / "src" / "mrsearch"
    shutil.copytree(Path(runlog.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    assert revision_of(package) is None, "outside git"

    def git(*command: str) -> str:
        names = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *names, *command], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("init")
    (tmp_path / ".gitignore").write_text("__pycache__/\n")
    assert revision_of(package) is None, "a repository around it that does not track it"
    git("add", ".")
    git("commit", "-m", "Begin")
    assert revision_of(package) == {"revision": git("rev-parse", "HEAD"), "dirty": False}
    (package / "new.py").write_text("")
    assert revision_of(package) == {"revision": git("rev-parse", "HEAD"), "dirty": True}
