"""`mrsearch verl-config`: what verl would be told."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import typer

from mrsearch.cli import options
from mrsearch.cli import scheduler as placement


def verl_config(
    study: options.Study,
    model: options.Model,
    method: options.Method,
    seed: options.Seed = 0,
    train_environment: placement.TrainEnvironment = placement.TRAIN_ENVIRONMENT,
) -> None:
    """Print verl's whole configuration of one training as YAML; train nothing.

    Where this environment has no verl, the one with verl prints it.
    """
    from mrsearch.config import read_study
    from mrsearch.training import launch

    resolved = read_study(study)
    if importlib.util.find_spec("verl") is not None:
        typer.echo(launch.verl_config(resolved, model, method, seed))
        return
    python = train_environment / "bin" / "python"
    if not python.exists():
        raise ValueError(f"{train_environment} is no virtual environment: make it with `make train-env`")
    names = [f"--study={study}", f"--model={model}", f"--method={method}", f"--seed={seed}"]
    command = [str(python), "-m", "mrsearch.cli", "verl-config", *names]
    if status := subprocess.run(command, check=False).returncode:
        sys.exit(status)
