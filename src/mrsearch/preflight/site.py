"""Whether the cluster is as the site file says, and gives what the study's stages need."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from mrsearch.cluster.queue import SlurmError, slurm
from mrsearch.config import Study
from mrsearch.config.site import STAGES, Partition, Site
from mrsearch.preflight import needs

OLDEST_SLURM = (21, 8)
MB = 1e6


def fits(study: Study, site: Site) -> Iterator[str]:
    """Whether partitions can run the stages, and whether the stages ask for enough."""
    for stage in STAGES:
        asked = getattr(study.resources, stage)
        yield from site.misfits(stage, asked)
        memory = needs.memory_bytes(study, stage, asked)
        if memory > asked.mem_mb * MB:
            yield f"resources.{stage}.mem_mb ({asked.mem_mb}) is less than the {memory / MB:.0f} that it will need"
        name = site.partition_of(stage)
        has, wanted = site.partitions[name].gpu_mem_mb, needs.gpu_bytes(study, stage, asked)
        if has is not None and wanted > has * MB:
            yield (
                f"{stage} will need {wanted / MB:.0f} MB on each of {asked.gpus} x {asked.nodes} GPUs, more than "
                f"partitions.{name}.gpu_mem_mb ({has}): ask for more GPUs in resources.{stage}"
            )


def programs(site: Site) -> Iterator[str]:
    """What must be installed where Snakemake runs."""
    missing = [
        name for name in ("sbatch", "srun", "squeue", "scancel", "scontrol", "setsid") if shutil.which(name) is None
    ]
    if missing:
        yield f"{', '.join(missing)} not found: start Snakemake on a login node of the cluster"
    if site.container and not Path(site.container).exists() and "://" not in site.container:
        yield f"container ({site.container}) does not exist"


def partitions(site: Site) -> Iterator[str]:
    """Whether Slurm answers, is new enough, and has the partitions and nodes that the site file names."""
    if shutil.which("sinfo") is None:
        return
    try:
        version = slurm("sinfo", "--version").split()[-1]
        if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_SLURM:
            yield f"Slurm {version} is older than {OLDEST_SLURM[0]}.{OLDEST_SLURM[1]:02d}"
        for name, said in site.partitions.items():
            yield from _partition(name, said)
    except SlurmError as error:
        yield str(error)


def _partition(name: str, said: Partition) -> Iterator[str]:
    lines = slurm("sinfo", "-h", "-p", name, "-o", "%c|%m|%G").splitlines()
    if not lines:
        yield f"partitions.{name} does not exist on this cluster: see `sinfo -s`"
        return
    rows = [line.split("|") for line in lines]
    cores, memory = (max(int(row[column].rstrip("+")) for row in rows) for column in (0, 1))
    if said.cores > cores:
        yield f"partitions.{name}.cores ({said.cores}) is more than its nodes have ({cores})"
    if said.mem_mb > memory:
        yield f"partitions.{name}.mem_mb ({said.mem_mb}) is more than its nodes have ({memory})"
    if said.gpus and not any("gpu" in row[2] for row in rows):
        yield f"partitions.{name}.gpus ({said.gpus}): its nodes have none"
