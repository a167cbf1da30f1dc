"""Whether the cluster is as the site file says, and gives what the study's stages need."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from mrsearch.cluster.queue import SlurmError, slurm
from mrsearch.config import Study
from mrsearch.config.site import Partition, Site
from mrsearch.planning import needs
from mrsearch.preflight import gpus

OLDEST_SLURM = (21, 8)
MB = 1e6


def fits(study: Study, site: Site) -> Iterator[str]:
    """Whether partitions can run the stages, and whether the stages ask for enough."""
    active = study.active_stages()
    for stage in active:
        resources = getattr(study.resources, stage)
        yield from site.misfits(stage, resources)
        memory = needs.memory_bytes(study, stage, resources)
        if memory > resources.mem_mb * MB:
            yield f"resources.{stage}.mem_mb ({resources.mem_mb}) is less than the {memory / MB:.0f} that it will need"
    by_memory = {site.partition_of(stage): site.partitions[site.partition_of(stage)].gpu_mem_mb for stage in active}
    for name, has in by_memory.items():
        stages = [stage for stage in active if site.partition_of(stage) == name]
        if has is not None:
            yield from gpus.misfits(study, stages, has * MB, f"partitions.{name}.gpu_mem_mb")


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
        if tuple(int(number) for number in version.split(".")[:2]) < OLDEST_SLURM:
            yield f"Slurm {version} is older than {OLDEST_SLURM[0]}.{OLDEST_SLURM[1]:02d}"
        for name, partition in site.partitions.items():
            yield from _partition(name, partition)
    except SlurmError as error:
        yield str(error)


def _partition(name: str, partition: Partition) -> Iterator[str]:
    lines = slurm("sinfo", "-h", "-p", name, "-o", "%c|%m|%G").splitlines()
    if not lines:
        yield f"partitions.{name} does not exist on this cluster: see `sinfo -s`"
        return
    rows = [line.split("|") for line in lines]
    cores, memory = (max(int(row[column].rstrip("+")) for row in rows) for column in (0, 1))
    if partition.cores > cores:
        yield f"partitions.{name}.cores ({partition.cores}) is more than its nodes have ({cores})"
    if partition.mem_mb > memory:
        yield f"partitions.{name}.mem_mb ({partition.mem_mb}) is more than its nodes have ({memory})"
    if partition.gpus and not any("gpu" in row[2] for row in rows):
        yield f"partitions.{name}.gpus ({partition.gpus}): its nodes have none"
