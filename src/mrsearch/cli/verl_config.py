"""`mrsearch train --print-config`: what verl would be told."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import typer


def show(names: dict[str, str], environment: Path) -> None:
    """Print the whole configuration of one training; from the environment with verl, where this one has none."""
    from mrsearch.config import read_study
    from mrsearch.training.verl.settings import preview

    study = read_study(names["study"])
    if importlib.util.find_spec("verl") is not None:
        typer.echo(preview(study, names["model"], names["method"], int(names["seed"])))
        return
    python = environment / "bin" / "python"
    if not python.exists():
        raise ValueError(f"{environment} is no virtual environment: make it with `make train-env`")
    options = [f"--{key}={value}" for key, value in names.items()]
    command = [str(python), "-m", "mrsearch.cli", "train", "--print-config", *options]
    if status := subprocess.run(command, check=False).returncode:
        sys.exit(status)
