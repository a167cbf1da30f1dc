"""Preflight opens the environment that trains with verl."""

from __future__ import annotations

import json
import subprocess

from integration.verl.conftest import MAIN, ROOT

from mrsearch.config import Run, load_study
from mrsearch.preflight import recipes


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


def refused(**keys):
    paths = {"train_environment": str(ROOT / ".venv-train")}
    overrides = {"training.verl.overrides": {key.replace("__", "."): value for key, value in keys.items()}}
    run = Run.model_validate({"study": "demo-verl", "paths": paths, "overrides": overrides})
    return list(recipes.overrides(run, load_study(run, ROOT), None))


def test_keys_of_verl_are_asked_of_the_verl_that_will_train():
    assert refused(trainer__balance_batch=False, trainer__balance_bach=False) == [
        "methods.mr_search: training.verl.overrides: the installed verl has no key trainer.balance_bach: did you mean "
        "trainer.balance_batch?"
    ]
