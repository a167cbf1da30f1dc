"""Preflight opens the environment that trains with verl."""

from __future__ import annotations

import json
import subprocess

from integration.verl.conftest import MAIN, ROOT


def preflight(environment):
    run = json.dumps({"study": "demo-verl", "paths": {"train_environment": str(environment)}})
    command = [str(MAIN), "-m", "mrsearch.cli", "preflight", "--run", run]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_environment_of_make_imports_what_a_training_imports():
    done = preflight(ROOT / ".venv-train")
    assert (done.returncode, done.stdout) == (0, "Study demo-verl can start.\n"), done.stdout + done.stderr


def test_the_projects_own_environment_is_none_for_verl():
    done = preflight(ROOT / ".venv")
    assert done.returncode == 2
    assert "- methods.mr_search imports verl, which paths.train_environment" in done.stdout
    assert "No module named 'verl'" in done.stdout and "make train-env" in done.stdout
