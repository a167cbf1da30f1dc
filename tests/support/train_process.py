"""One training of the small world in a process of its own."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.project import ROOT

TESTS = ROOT / "tests"


def start_training(
    overrides: dict[str, Any],
    shared: Path,
    out: Path,
    method: str,
    *,
    seed: int = 3,
    agent_loop: str | None = None,
    variables: dict[str, str] | None = None,
    files: dict[str, Path] | None = None,
    **process: Any,
) -> subprocess.Popen[Any]:
    """Train `method` in a session of its own.

    `files` are inputs and the folder of checkpoints where they differ from `training_run`'s; `agent_loop` takes the
    place of the product's in verl; `process` goes to Popen.
    """
    settings = {"overrides": overrides, "shared": str(shared), "out": str(out), "method": method, "seed": seed}
    settings |= {"agent_loop": agent_loop, "files": {name: str(path) for name, path in (files or {}).items()}}
    command = [sys.executable, "-m", "support.train_process", json.dumps(settings)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "PYTHONPATH": str(TESTS)}
    return subprocess.Popen(command, env=environment | (variables or {}), start_new_session=True, **process)


def _train(settings: dict[str, Any]) -> None:
    from mrsearch.config import Run, load_study
    from mrsearch.training.launch import train_method
    from support.trainings import training_run

    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    if settings["agent_loop"]:
        from mrsearch.training.verl.rl import train

        train.AGENT_LOOP = settings["agent_loop"]
    study = load_study(Run(study="demo", overrides=settings["overrides"]), ROOT)
    files = {name: Path(path) for name, path in settings["files"].items()}
    shared, out = Path(settings["shared"]), Path(settings["out"])
    train_method(training_run(study, "tiny", settings["method"], settings["seed"], shared, out, **files))


if __name__ == "__main__":
    _train(json.loads(sys.argv[1]))
