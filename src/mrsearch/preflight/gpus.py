"""The GPUs of this machine: how many, their memory, and whether the driver is new enough for an environment's CUDA."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mrsearch.config import Study
from mrsearch.config.site import Site
from mrsearch.planning import needs
from mrsearch.preflight.findings import Unchecked

ENVIRONMENTS = Path(__file__).parents[3] / "envs"
OLDEST_DRIVER = {"12": 525, "13": 580}
"""By CUDA's major version, of which every minor version runs on it."""
MIB = 2**20
ANSWER_SECONDS = 60
ADVICE = {
    "train by local": "lower training.local.concurrency, max_token_len_per_gpu or logits_chunk, or set "
    "gradient_checkpointing: true there",
    "train": "ask for more GPUs in resources.train, or lower training.verl.micro_batch_size_per_gpu",
    "evaluate": "ask for more GPUs in resources.evaluate, and set evaluation.generator.tensor_parallel to their number",
}
OLD_DRIVERS = "newer drivers, or on data-centre cards a container with CUDA's compatibility package (docs/training.md)"


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU of this machine."""

    name: str
    memory: int
    """Bytes."""
    driver: str


def has_driver() -> bool:
    """Whether this machine has a GPU's driver."""
    return shutil.which("nvidia-smi") is not None


def cards() -> list[Gpu] | str:
    """This machine's GPUs, or why they are not known."""
    if not has_driver():
        return "nvidia-smi is not found, so there is no driver"
    fields = "name,memory.total,driver_version"
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"nvidia-smi: {error}"
    if done.returncode:
        return f"nvidia-smi: {(done.stdout + done.stderr).strip() or f'status {done.returncode}'}"
    rows = [line.rsplit(",", 2) for line in done.stdout.splitlines() if line.strip()]
    try:
        return [Gpu(name.strip(), int(memory) * MIB, driver.strip()) for name, memory, driver in rows]
    except ValueError:
        return f"nvidia-smi answers otherwise than expected: {done.stdout.splitlines()[0]!r}"


def on_this_machine(study: Study, cuda: str | None) -> Iterator[str]:
    """Whether this machine, which runs the stages itself, has what those with GPUs ask for."""
    gpus_of = _gpus_by_stage(study)
    if not gpus_of:
        return
    gpus_here = cards()
    if isinstance(gpus_here, str):
        stages = ", ".join(f"resources.{stage}.gpus {gpus}" for stage, gpus in gpus_of.items())
        yield f"the study asks for GPUs ({stages}), and this machine has none that can be used: {gpus_here}"
        return
    for stage, gpus in gpus_of.items():
        if gpus > len(gpus_here):
            yield f"resources.{stage}.gpus ({gpus}) is more than this machine has ({len(gpus_here)})"
    yield from _driver(gpus_here, cuda)
    smallest = min((card.memory for card in gpus_here), default=0)
    if gpus_here:
        yield from misfits(study, gpus_of, smallest, f"this machine's {gpus_here[0].name} has")


def elsewhere(study: Study, site: Site, cuda: str | None) -> Iterator[str]:
    """What of the nodes' GPUs is not known where jobs are submitted, with what would have to hold."""
    gpus_of = _gpus_by_stage(study)
    if not gpus_of:
        return
    by_partition: dict[str, list[str]] = {}
    for stage in gpus_of:
        by_partition.setdefault(site.partition_of(stage), []).append(stage)
    requirement = f"CUDA {cuda} needs {_oldest(cuda)} or newer" if cuda else f"see {ENVIRONMENTS.name}/gpu.in"
    for name, stages in by_partition.items():
        at = f"`srun --partition={name} --gpus=1 mrsearch preflight {study.name}`"
        yield Unchecked(
            f"the driver of partition {name} ({requirement}), for {', '.join(stages)}: {at} on one of its nodes"
        )
    if site.container is None:
        yield Unchecked("glibc, the C compiler and Python's headers of nodes with GPUs: this machine's were looked at")


def misfits(study: Study, stages: Iterable[str], memory: float, owner: str) -> Iterator[str]:
    """Of these stages, those that need more than `memory` bytes on each of their GPUs, item by item."""
    for stage in stages:
        resources = getattr(study.resources, stage)
        items = needs.gpu_items(study, stage, resources)
        if sum(items.values()) > memory:
            yield (
                f"{stage} will need {sum(items.values()) / 1e6:.0f} MB on each of {resources.gpus} x {resources.nodes} "
                f"GPUs ({needs.listed(items)}), more than {owner} ({memory / 1e6:.0f}): "
                f"{_advice(study, stage)}"
            )


def _advice(study: Study, stage: str) -> str:
    in_one_process = stage == "train" and study.training.backend == "local"
    return ADVICE["train by local"] if in_one_process else ADVICE.get(stage, f"ask for more GPUs in resources.{stage}")


def libc(study: Study, environment: Path) -> Iterator[str]:
    """Whether this machine's C library is new enough for the lock of the environment for GPUs, before it is made."""
    name, version = platform.libc_ver()
    oldest = re.search(r"^# Platforms: .*-glibc-([\d.]+)$", (ENVIRONMENTS / "gpu.in").read_text(encoding="utf-8"), re.M)
    if not _gpus_by_stage(study) or (environment / "bin" / "python").exists() or name != "glibc" or oldest is None:
        return
    if _numbers(version) < _numbers(oldest[1]):
        yield (
            f"glibc {version} is older than the {oldest[1]} that the wheels of envs/gpu.lock.txt need: use a container "
            "(envs/gpu.def), or nodes with a newer system"
        )


def _driver(gpus_here: list[Gpu], cuda: str | None) -> Iterator[str]:
    oldest = _oldest(cuda)
    for driver in sorted({card.driver for card in gpus_here}):
        if oldest and _numbers(driver)[:1] < (oldest,):
            yield f"driver {driver} is older than the {oldest} that CUDA {cuda} needs: take {OLD_DRIVERS}"


def _oldest(cuda: str | None) -> int | None:
    return OLDEST_DRIVER.get(cuda.split(".")[0]) if cuda else None


def locked_cuda(lock: Path = ENVIRONMENTS / "gpu.lock.txt") -> str | None:
    """The CUDA that a lock's packages bring."""
    version = re.search(r"^nvidia-cuda-runtime==(\d+\.\d+)", lock.read_text(encoding="utf-8"), re.M)
    return version[1] if version else None


def _gpus_by_stage(study: Study) -> dict[str, int]:
    gpus_of = {stage: getattr(study.resources, stage).gpus for stage in study.active_stages()}
    return {stage: gpus for stage, gpus in gpus_of.items() if gpus}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))
