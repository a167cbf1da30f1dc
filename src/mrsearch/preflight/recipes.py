"""Whether the installed verl takes a study's keys of its own: asked where the trainings will run."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mrsearch.cluster.environments import tools_first
from mrsearch.config import Run, Study, write_study
from mrsearch.config.layout import STUDY_FILE
from mrsearch.config.load import digest
from mrsearch.config.site import Site
from mrsearch.preflight.findings import Unchecked
from mrsearch.preflight.interpreters import Interpreter, command_of, interpreters

SECONDS = 300
"""How long verl's configuration may take to be composed."""
REFUSED = 2
"""Exit status of a command that a user can mend."""


def overrides(run: Run, study: Study, site: Site | None) -> Iterator[str]:
    """What the installed verl refuses of `training.verl.overrides`; equal ones are asked about once.

    Environments that cannot be opened are left out: `opened` tells of them.
    """
    questions = set()
    for method, settings in study.methods.items():
        if not settings.train or study.training_stage(method) != "train" or not study.trained_by_verl(method):
            continue
        verl, on_gpus = study.training_of(method).verl, study.resources.train.gpus > 0
        interpreter = next(
            environment
            for environment in interpreters(run, study, site)
            if "verl" in environment.users and environment.on_gpus == on_gpus
        )
        question = digest(verl.overrides, verl.rollout, interpreter.title)
        if verl.overrides and question not in questions:
            questions.add(question)
            yield from _composed(study, method, interpreter, site)


def _composed(study: Study, method: str, interpreter: Interpreter, site: Site | None) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="mrsearch-preflight-") as folder:
        file = Path(folder) / STUDY_FILE
        write_study(study, file)
        names = ["--study", str(file), "--model", next(iter(study.models)), "--method", method]
        command = command_of(interpreter, ["-m", "mrsearch.cli", "verl-config", *names], site)
        if command is None:
            return
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=SECONDS, env=_variables(interpreter), check=False
            )
        except OSError:
            return
        except subprocess.TimeoutExpired:
            yield _unchecked(method, interpreter, f"did not end within {SECONDS} s")
            return
    message = (done.stderr.strip().splitlines() or ["no output"])[-1]
    if done.returncode == REFUSED:
        yield f"methods.{method}: {message.removeprefix('mrsearch: ')}"
    elif done.returncode:
        yield _unchecked(method, interpreter, f"ended with status {done.returncode}: {message}")


def _variables(interpreter: Interpreter) -> dict[str, str]:
    python = interpreter.python
    variables = dict(os.environ) if python is None else tools_first(os.environ, str(python))
    return variables | {"VERL_USE_EXTERNAL_PLUGINS": "none", "HF_HUB_OFFLINE": "1"}


def _unchecked(method: str, interpreter: Interpreter, reason: str) -> Unchecked:
    return Unchecked(
        f"methods.{method}: training.verl.overrides were not checked: `mrsearch verl-config` in {interpreter.title} "
        f"{reason}"
    )
