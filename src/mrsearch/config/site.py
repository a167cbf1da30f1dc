"""The site: what a cluster offers, and how its jobs are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from mrsearch.config.base import Model, Name, NonNegativeInt, PositiveFloat, PositiveInt
from mrsearch.config.load import validated
from mrsearch.config.resources import Resources, StageResources
from mrsearch.config.source import ConfigError, read_yaml

STAGES = tuple(StageResources.model_fields)


class Partition(Model):
    """One partition, and what one of its nodes has."""

    cores: PositiveInt
    """CPU cores of a node."""
    mem_mb: PositiveInt
    """Memory of a node that jobs can ask for (RealMemory of `scontrol show node`)."""
    nodes: PositiveInt = 1
    """Nodes that one job can get."""
    max_minutes: PositiveInt | None = None
    """Longest time limit; null where there is none."""
    gpus: NonNegativeInt = 0
    """GPUs of a node."""
    gpu_type: str | None = None
    """Type in the request `gpu:TYPE:n`; null asks for any."""
    gpu_mem_mb: PositiveInt | None = None
    """Memory of one GPU; needed where `gpus` is not 0."""

    @model_validator(mode="after")
    def _gpus_have_memory(self) -> Partition:
        if self.gpus and self.gpu_mem_mb is None:
            raise ValueError(f"gpu_mem_mb is missing: the nodes have {self.gpus} GPUs")
        return self


class Site(Model):
    """The keys of `config/site.yaml`. Only jobs on Slurm read it."""

    account: str | None
    """Account that jobs are charged to; null where the cluster has no accounts."""
    partitions: Annotated[dict[Name, Partition], Field(min_length=1)]
    """Partitions that jobs may use."""
    partition: Name
    """Partition of stages that `stages` does not name."""
    stages: dict[Name, Name] = {}
    """Partition by stage (data, index, retriever, warm_start, sft, train, evaluate, report)."""
    qos: str | None = None
    """Quality of service; null takes the account's default."""
    sbatch: dict[Name, str] = {}
    """Further options of sbatch, without the dashes: {"constraint": "ib"}."""
    modules: tuple[str, ...] = ()
    """Environment modules that every job loads first."""
    setup: tuple[str, ...] = ()
    """Shell lines that every job runs before its command, after the modules."""
    container: str | None = None
    """Apptainer image in which jobs with GPUs run: trainings, evaluations and the retriever. It takes the place of
    `paths.gpu_environment`; null has none."""
    container_options: tuple[str, ...] = ("--nv",)
    """Options of `apptainer exec`."""
    signal_seconds: PositiveInt = 120
    """How long before its time limit a job is told to stop and is put back into the queue."""
    max_requeues: NonNegativeInt = 20
    """How often one job goes back into the queue (preemption, time limit, lost node) before it is given up."""
    fence_seconds: PositiveFloat = 10.0
    """How long a restarted job waits for its predecessor on a lost node to notice that it was replaced."""
    poll_seconds: PositiveFloat = 5.0
    """Time between two looks at the queue."""
    network: str | None = None
    """How nodes reach each other's servers and Ray: an interface (ib0), a network (10.1.0.0/16) or an address; null is
    a node's name in Slurm, which must not stand for loopback."""
    scratch: Annotated[str, Field(pattern="^/", max_length=30)] = "/tmp"
    """Folder on every node's own disk for Ray's sockets and logs, which are removed at the end; at most 30 characters,
    because the paths of sockets are short."""
    one_machine: bool = False
    """All nodes are one machine, as in tests: servers may then bind loopback."""

    @model_validator(mode="after")
    def _references_exist(self) -> Site:
        names = ", ".join(sorted(self.partitions))
        for stage, name in {"": self.partition, **self.stages}.items():
            key = f"stages.{stage}" if stage else "partition"
            if name not in self.partitions:
                raise ValueError(f"{key} ({name!r}) is not among the partitions: known are {names}")
            if stage and stage not in STAGES:
                raise ValueError(f"{key} is not a stage: known are {', '.join(STAGES)}")
        return self

    def partition_of(self, stage: str) -> str:
        """Name of the partition that runs a stage."""
        return self.stages.get(stage, self.partition)

    def gres(self, stage: str, gpus: int) -> str | None:
        """The request for GPUs of one node, as sbatch's --gres takes it; None for no GPU."""
        kind = self.partitions[self.partition_of(stage)].gpu_type
        return f"gpu:{f'{kind}:' if kind else ''}{gpus}" if gpus else None

    def misfits(self, stage: str, resources: Resources) -> list[str]:
        """Why the partition of `stage` can never run a job that asks for `resources`; one sentence each."""
        name = self.partition_of(stage)
        has = self.partitions[name]
        requests = [
            ("threads", resources.threads, has.cores, "cores"),
            ("mem_mb", resources.mem_mb, has.mem_mb, "mem_mb"),
            ("gpus", resources.gpus, has.gpus, "gpus"),
            ("nodes", resources.nodes, has.nodes, "nodes"),
            ("runtime", resources.runtime, has.max_minutes, "max_minutes"),
        ]
        return [
            f"resources.{stage}.{key} ({request}) is more than partitions.{name}.{limit} ({capacity})"
            for key, request, capacity, limit in requests
            if capacity is not None and request > capacity
        ]


def load_site(path: Path) -> Site:
    """The validated site of a YAML file; ConfigError names every missing or wrong entry."""
    if not path.is_file():
        raise ConfigError(f"{path}: missing: it names partitions and account of the cluster (docs/cluster.md)")
    raw: dict[str, Any] = read_yaml(path)
    return validated(Site, raw, str(path))
