"""The run: which study, where its files go, on which site."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import NonNegativeInt

from mrsearch.config.base import Model


class Paths(Model):
    """Where files are kept; relative paths start at the project's root."""

    results: str = "results"
    """Everything that is made."""
    resources: str = "results/resources"
    """Downloads, base models and indexes that studies share."""
    mirror: str | None = None
    """A local folder or another address to download from; null uses the public hub."""
    train_environment: str = ".venv-train"
    """Virtual environment of trainings with `training.backend: verl`; a site's container takes its place."""


class Run(Model):
    """The keys of `config/config.yaml` and of `snakemake --config`."""

    study: str = "demo"
    """Name of a file in `config/studies/`, or a path to a study's YAML or JSON file."""
    seeds: tuple[NonNegativeInt, ...] | NonNegativeInt | None = None
    """Training seeds to use in place of the study's own."""
    paths: Paths = Paths()
    """Where files are kept."""
    scheduler: Literal["local", "slurm"] = "local"
    """Where trainings and the retrieval server run: as processes of this machine, or as Slurm jobs. `--profile slurm`
    sets it."""
    site: str = "config/site.yaml"
    """The cluster's partitions, account and nodes; read where `scheduler` is slurm."""
    overrides: dict[str, Any] = {}
    """Study keys to replace, by dotted path: {"training.steps": 2}."""
