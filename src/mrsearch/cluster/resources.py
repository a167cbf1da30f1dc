"""What the rules ask for: resources by stage from study and site, and the options that say where long jobs run."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from mrsearch.config import ConfigError, Run, Study
from mrsearch.config.resources import Resources
from mrsearch.config.site import load_site


class JobResources:
    """The resources of a study's stages on the run's site. ConfigError lists what is missing or does not fit."""

    def __init__(self, run: Run, study: Study) -> None:
        self._run, self._study = run, study
        self._site = load_site(Path(run.site)) if run.scheduler == "slurm" else None
        if self._site is not None:
            misfits = [
                line
                for stage in study.active_stages()
                for line in self._site.misfits(stage, getattr(study.resources, stage))
            ]
            if misfits:
                raise ConfigError(f"{run.site} does not fit study {study.name}:\n" + "\n".join(misfits))

    def stage(self, stage: str) -> Resources:
        """What the study says a job of the stage needs."""
        resources: Resources = getattr(self._study.resources, stage)
        return resources

    def of(self, stage: str) -> dict[str, Any]:
        """A rule's `resources:` for one job that Snakemake runs or submits."""
        resources = self.stage(stage)
        options: dict[str, Any] = {"mem_mb": resources.mem_mb, "runtime": resources.runtime}
        if resources.gpus:
            options["gpu"] = resources.gpus
        return options | self._on_slurm(stage, resources.gpus)

    def managed(self, stage: str) -> dict[str, Any]:
        """A rule's `resources:` for a job that its command submits; shown by a dry run and handed to the command."""
        resources = self.stage(stage)
        return {
            "mem_mb": resources.mem_mb,
            "runtime": resources.runtime,
            "cpus": resources.threads,
            "nodes": resources.nodes,
            "gpus_per_node": resources.gpus,
        }

    def partition(self, stage: str) -> str:
        """Partition of a stage's jobs; "local" where there is no cluster."""
        return self._site.partition_of(stage) if self._site else "local"

    def threads(self, stage: str) -> int:
        """Cores that the command of a managed job takes from this machine: on a cluster it only waits."""
        return 1 if self._site else self.stage(stage).threads

    def gpus_here(self, stage: str) -> int:
        """GPUs that a managed job takes from this machine, in the resource that other jobs count theirs in
        (`--resources gpu=1`): on a cluster none."""
        return 0 if self._site else self.stage(stage).gpus

    @property
    def max_requeues(self) -> int:
        """How often a job of this site may be lost."""
        return self._site.max_requeues if self._site else 0

    @property
    def scheduler_options(self) -> list[str]:
        """Options of `mrsearch train` and `mrsearch retriever start`."""
        return ["--scheduler", self._run.scheduler, *self.site]

    @property
    def site(self) -> list[str]:
        """The option that names the site file; none where there is no cluster."""
        return ["--site", self._run.site] if self._site else []

    @property
    def prefix(self) -> str:
        """Shell text before every rule's command: the site's modules and set-up, of which the first that fails ends it.

        Snakemake formats it, and puts it in the place of what it sets itself (unset names and broken pipes end a
        command too); modules know nothing of that, so it follows them.
        """
        if self._site is None or not (self._site.modules or self._site.setup):
            return ""
        modules = [f"module load {shlex.quote(module)}" for module in self._site.modules]
        lines = ["set -e", *modules, *self._site.setup, "set -uo pipefail", ""]
        return "\n".join(lines).replace("{", "{{").replace("}", "}}")

    def _on_slurm(self, stage: str, gpus: int) -> dict[str, Any]:
        if self._site is None:
            return {}
        name = self._site.partition_of(stage)
        kind = self._site.partitions[name].gpu_type
        extra = " ".join(f"--{key}={shlex.quote(value)}" for key, value in self._site.sbatch.items())
        resources = {
            "slurm_partition": name,
            "slurm_account": self._site.account,
            "qos": self._site.qos,
            "gpu_model": kind if gpus else None,
            "slurm_extra": extra or None,
        }
        return {key: value for key, value in resources.items() if value is not None}
