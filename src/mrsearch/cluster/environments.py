"""Which Python runs a stage: of this environment, of the one for GPUs, of verl's without GPUs, or of a site's image."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from mrsearch.config.site import Site


def python_of(environment: Path, key: str, make: str) -> Path:
    """The Python of a virtual environment.

    ValueError where there is none; it names the key of `paths` that chose it and the target of make that makes it.
    """
    python = environment.absolute() / "bin" / "python"
    if not python.exists():
        raise ValueError(
            f"paths.{key} ({environment}) is no virtual environment: make it with `make {make}` (on a cluster see "
            f"docs/training.md), or name another in paths.{key}"
        )
    return python


def gpu_python(environment: Path) -> Path:
    """The Python of stages whose job has GPUs; ValueError where there is none."""
    return python_of(environment, "gpu_environment", "gpu-env")


def command_on_gpus(arguments: Sequence[str], environment: Path, site: Site | None) -> list[str]:
    """`python ARGUMENTS` in the environment for GPUs, or in the site's container, whose image takes its place."""
    if site is not None and site.container is not None:
        return inside_container([sys.executable, *arguments], site)
    return [str(gpu_python(environment)), *arguments]


def inside_container(command: Sequence[str], site: Site) -> list[str]:
    """The command as it runs in the site's container, if it has one; the image's own Python takes the place of ours."""
    if site.container is None:
        return list(command)
    words = ["python", *command[1:]] if command[0] == sys.executable else list(command)
    return ["apptainer", "exec", *site.container_options, "--pwd", str(Path.cwd()), site.container, *words]


def tools_first(variables: Mapping[str, str], python: str) -> dict[str, str]:
    """Variables with the folder of an interpreter first in PATH: kernels are built with its environment's ninja and
    nvcc."""
    return {**variables, "PATH": os.pathsep.join([str(Path(python).parent), variables.get("PATH", os.defpath)])}
