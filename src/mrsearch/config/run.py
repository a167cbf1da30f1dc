"""The run: which study, where its files go, on which site."""

from __future__ import annotations

from typing import Any, Literal

from mrsearch.config.base import Model, Seed


class Paths(Model):
    """Where files are kept; relative paths start at the project's root."""

    results: str = "results"
    """Everything that is made."""
    resources: str = "results/resources"
    """Downloads, base models and indexes that studies share."""
    mirror: str | None = None
    """A local folder or another address to download from; null uses the public hub. A password in the address is
    safest in the environment variable MRSEARCH_MIRROR, which takes the place of this key where it is null."""
    writable_by_others: Literal["refuse", "warn"] = "refuse"
    """What to do where other users can write to `results` or `resources`: they can change what is found there, and what
    jobs of yours run. warn is for a group whose members may do that."""
    gpu_environment: str = ".venv-gpu"
    """Virtual environment of trainings and evaluations whose job has GPUs, with verl, vLLM and the generation server; a
    site's container takes its place."""
    retriever_environment: str | None = None
    """Virtual environment of a retrieval server whose job has GPUs, with FAISS's build for GPUs (`make
    retriever-gpu-env`), so that `index: flat` can use them; null takes that of `gpu_environment`, where `index: torch`
    can. A site's container takes its place."""
    train_environment: str = ".venv-train"
    """Virtual environment of trainings with `training.backend: verl` whose job has no GPUs."""


class Run(Model):
    """The keys of `config/config.yaml` and of `snakemake --config`."""

    study: str = "demo"
    """Name of a file in `config/studies/`, or a path to a study's YAML or JSON file."""
    seeds: tuple[Seed, ...] | Seed | None = None
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
