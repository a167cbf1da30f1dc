"""What this machine gives: memory, ports, package versions, a way to W&B."""

from __future__ import annotations

import importlib.metadata
import os
import re
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from mrsearch.config import Study
from mrsearch.config.site import Site
from mrsearch.planning import needs
from mrsearch.preflight.disk import existing

REQUIREMENTS = Path(__file__).parents[3] / "envs" / "cpu.in"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
CONNECT_SECONDS = 5.0
CACHE_BYTES = 1_000_000
"""Room that Snakemake's cache needs."""


def this_machine(study: Study) -> Iterator[str]:
    """Stages that need more memory than this machine has."""
    has = psutil.virtual_memory().total
    for stage in study.active_stages():
        memory = needs.memory_bytes(study, stage, getattr(study.resources, stage))
        if memory > has:
            yield f"{stage} will need {memory / needs.GIB:.0f} GiB of memory; this machine has {has / needs.GIB:.0f}"


def tracking() -> Iterator[str]:
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


def versions(requirements: Path = REQUIREMENTS) -> Iterator[str]:
    """Packages that are missing or whose version is outside of the range in which the project works."""
    from packaging.requirements import Requirement

    lines = requirements.read_text(encoding="utf-8").splitlines()
    for requirement in (Requirement(line) for line in lines if re.match(r"[\w.-]+ *[<>=~!]", line)):
        try:
            installed = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            yield f"the Python package {requirement.name} is missing: install envs/cpu.lock.txt"
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            yield f"{requirement.name} {installed} is installed, {requirement} is needed: install envs/cpu.lock.txt"


def interpreter() -> Iterator[str]:
    """Snakemake's Slurm executor puts the interpreter's path into its job scripts as it is."""
    if " " in sys.executable:
        yield (
            f"Python's path ({sys.executable}) has a space, which Snakemake's Slurm executor does not quote: install "
            "into a folder without, or start Snakemake through a link without"
        )


def project_path(folder: Path | None = None) -> Iterator[str]:
    """Slurm takes `%` in the path of a job's log for the beginning of a pattern, and the executor refuses it."""
    folder = (folder or Path.cwd()).absolute()
    if "%" in str(folder):
        yield (
            f"the project's path ({folder}) has a %, which Slurm replaces in the paths of logs: move or rename the "
            "folder, and run `snakemake --touch` once where results exist already"
        )


def cache() -> Iterator[str]:
    """Snakemake's own cache, without which it ends in a traceback; a full quota shows only at a write."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    try:
        with tempfile.TemporaryFile(dir=existing(folder)) as file:
            file.write(bytes(CACHE_BYTES))
    except OSError as error:
        yield (
            f"{folder}, where Snakemake keeps its cache, cannot be written ({error.strerror}): make room, or set "
            "XDG_CACHE_HOME to a folder with room"
        )


def port(study: Study) -> Iterator[str]:
    """Whether the retrieval server gets its port on this machine."""
    service = study.retrieval.service
    if not study.served() or not service.port:
        return
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((service.host, service.port))
        except OSError as error:
            yield (
                f"retrieval.service.port ({service.port}) of {service.host} cannot be bound: {error.strerror}; 0 takes "
                "a free one"
            )


def reachable(study: Study, site: Site) -> Iterator[str]:
    """Whether clients on other nodes will reach the retrieval server."""
    service = study.retrieval.service
    if study.served() and service.host in LOOPBACK and not site.one_machine:
        yield (
            f"retrieval.service.host ({service.host}) is reached from its own node only: set 0.0.0.0, which asks "
            "clients for a bearer token"
        )
