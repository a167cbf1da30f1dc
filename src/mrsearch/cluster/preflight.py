"""What would stop a run later, found before anything is submitted: one list of all problems."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from mrsearch.cluster import needs
from mrsearch.cluster.queue import SlurmError, slurm
from mrsearch.config import ConfigError, Run, Study
from mrsearch.config.site import STAGES, Site, load_site

LOOPBACK = ("127.0.0.1", "::1", "localhost")
OLDEST_SLURM = (21, 8)
CONNECT_SECONDS = 5.0
MB = 1e6


def preflight(run: Run, study: Study) -> list[str]:
    """Every problem that can be seen from here, one sentence each; empty if the run can start."""
    problems = [*_folders(run, study), *_tracking(), *_server(run, study)]
    if run.scheduler != "slurm":
        return [*problems, *_this_machine(study)]
    try:
        site = load_site(Path(run.site))
    except ConfigError as error:
        return [*str(error).splitlines(), *problems]
    return [*_fits(study, site), *problems, *_programs(site), *_partitions(site)]


def _fits(study: Study, site: Site) -> Iterator[str]:
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


def _this_machine(study: Study) -> Iterator[str]:
    has = psutil.virtual_memory().total
    for stage in STAGES:
        wanted = needs.memory_bytes(study, stage, getattr(study.resources, stage))
        if wanted > has:
            yield f"{stage} will need {wanted / needs.GIB:.0f} GiB of memory; this machine has {has / needs.GIB:.0f}"


def _folders(run: Run, study: Study) -> Iterator[str]:
    """Write permission and room; folders on one disk share its room."""
    wanted: dict[int, float] = {}
    homes: dict[int, Path] = {}
    parts = {run.paths.results: needs.results_bytes(study), run.paths.resources: needs.resources_bytes(study)}
    for name, size in parts.items():
        folder = _existing(Path(name))
        try:
            with tempfile.NamedTemporaryFile(dir=folder):
                pass
        except OSError as error:
            yield f"{folder}: cannot be written: {error.strerror}"
        disk = folder.stat().st_dev
        wanted[disk] = wanted.get(disk, 0) + size
        homes.setdefault(disk, folder)
    for disk, size in wanted.items():
        free = shutil.disk_usage(homes[disk]).free
        if size > free:
            yield (
                f"{homes[disk]}: the study will write up to {size / needs.GIB:.1f} GiB, {free / needs.GIB:.1f} GiB are "
                "free: make room, or set paths.results and paths.resources"
            )


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not path.is_dir():
        path = path.parent
    return path


def _tracking() -> Iterator[str]:
    """W&B must be reachable where it is meant to be online."""
    mode = os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_API_KEY") else "offline")
    if mode != "online":
        return
    if not os.environ.get("WANDB_API_KEY") and not (Path.home() / ".netrc").is_file():
        yield "WANDB_MODE is online but there is no WANDB_API_KEY: set it, or WANDB_MODE=offline"
    address = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai"))
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname or "", port), CONNECT_SECONDS).close()
    except OSError as error:
        yield f"W&B at {address.hostname}:{port} cannot be reached ({error}): set WANDB_MODE=offline, sync later"


def _server(run: Run, study: Study) -> Iterator[str]:
    """Whether the retrieval server will be reachable and gets its port."""
    service = study.retrieval.service
    if service.mode != "http":
        return
    if run.scheduler == "slurm":
        if problem := unreachable(study, Path(run.site)):
            yield problem
    elif service.port:
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((service.host, service.port))
            except OSError as error:
                yield (
                    f"retrieval.service.port ({service.port}) of {service.host} cannot be bound: {error.strerror}; "
                    "0 takes a free one"
                )


def unreachable(study: Study, site: Path) -> str | None:
    """Why clients on other nodes would not reach the server; None if they will."""
    service = study.retrieval.service
    try:
        one_machine = load_site(site).one_machine
    except ConfigError:
        return None  # reported by itself
    if service.mode != "http" or service.host not in LOOPBACK or one_machine:
        return None
    return (
        f"retrieval.service.host ({service.host}) is reached from its own node only: set 0.0.0.0, which asks "
        "clients for a bearer token"
    )


def _programs(site: Site) -> Iterator[str]:
    """What must be installed where Snakemake runs."""
    for module in ("submitit", "snakemake_executor_plugin_slurm"):
        if importlib.util.find_spec(module) is None:
            yield f"the Python package {module} is missing: install envs/cpu.lock.txt"
    missing = [name for name in ("sbatch", "srun", "squeue", "scancel", "scontrol") if shutil.which(name) is None]
    if missing:
        yield f"{', '.join(missing)} not found: start Snakemake on a login node of the cluster"
        return
    version = slurm("sbatch", "--version").split()[-1]
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_SLURM:
        yield f"Slurm {version} is older than {OLDEST_SLURM[0]}.{OLDEST_SLURM[1]:02d}"
    if site.container and not Path(site.container).exists() and "://" not in site.container:
        yield f"container ({site.container}) does not exist"


def _partitions(site: Site) -> Iterator[str]:
    """Whether the partitions exist and their nodes have what the site file says."""
    if shutil.which("sinfo") is None:
        return
    for name, said in site.partitions.items():
        try:
            lines = slurm("sinfo", "-h", "-p", name, "-o", "%c|%m|%D|%G|%l").splitlines()
        except SlurmError as error:
            yield str(error)
            return
        if not lines:
            yield f"partitions.{name} does not exist on this cluster: see `sinfo -s`"
            continue
        rows = [line.split("|") for line in lines]
        cores, memory = (max(int(row[column].rstrip("+")) for row in rows) for column in (0, 1))
        if said.cores > cores:
            yield f"partitions.{name}.cores ({said.cores}) is more than its nodes have ({cores})"
        if said.mem_mb > memory:
            yield f"partitions.{name}.mem_mb ({said.mem_mb}) is more than its nodes have ({memory})"
        if said.gpus and not any("gpu" in row[3] for row in rows):
            yield f"partitions.{name}.gpus ({said.gpus}): its nodes have none"
