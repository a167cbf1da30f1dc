"""A command on GPUs goes on in their environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mrsearch.config import Run, load_study, write_study

pytestmark = pytest.mark.integration


EVALUATION = ["--model=tiny", "--method=direct", "--method=rag", "--seed=0", "--out=somewhere/2", "--cache=somewhere/3"]
EVALUATION += [f"--{name}=somewhere/{name}" for name in ("policy", "questions", "corpus", "indexes", "out", "cache")]
INDEX = ["--retriever=dense", "--corpus=somewhere/corpus", "--out=somewhere/dense", "--downloads=somewhere/downloads"]


@pytest.mark.parametrize(
    ("stage", "command", "options"), [("evaluate", ["evaluate"], EVALUATION), ("index", ["index", "build"], INDEX)]
)
def test_the_command_goes_on_in_the_environment_for_gpus(
    stage: str, command: list[str], options: list[str], root: Path, tmp_path: Path
) -> None:
    python = tmp_path / "gpu" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$PATH" "$@"\n')
    python.chmod(0o755)
    study = load_study(Run(study="demo", overrides={f"resources.{stage}": {"gpus": 1}}), root)
    write_study(study, tmp_path / "study.json")
    options = [f"--study={tmp_path}/study.json", *options]
    words = [sys.executable, "-m", "mrsearch.cli", *command, *options, f"--gpu-environment={tmp_path}/gpu"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=root)
    path, *told = done.stdout.split()
    assert path.split(os.pathsep)[0] == str(python.parent)
    assert told[: 2 + len(command)] == ["-m", "mrsearch.cli", *command]
    assert sorted(told[2 + len(command) :]) == sorted(options)
