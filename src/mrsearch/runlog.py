"""`run.json`: what a stage ran, on what, from which inputs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from mrsearch.config import Study, digest
from mrsearch.config.installed import packages
from mrsearch.config.layout import RUN_FILE
from mrsearch.files import file_sha256, write_text
from mrsearch.hash_notes import noted_hash

_PACKAGE = Path(__file__).resolve().parent
_ROOT = _PACKAGE.parents[1]
"""The project's folder where the package runs from its checkout."""
_DECIDING = (":/src", ":/rules", ":/Snakefile")
"""Paths of the checkout whose changes change results. Settings stand in the record themselves, lock files by hash."""


def write_run(
    path: Path,
    *,
    study: Study,
    stage: str,
    inputs: Mapping[str, Path],
    seeds: Iterable[int],
    extra: Mapping[str, Any],
    outputs: Mapping[str, Path] | None = None,
) -> None:
    """Write the self-describing record of one finished stage, a training or an evaluation, to `path`, atomically.

    It holds the resolved study, the code's revision and hash, lock files, hashes of inputs and outputs, package
    versions and what they add to the study, seeds and hardware. The keys of `extra` stand beside these, `seconds` and
    `timing` under "timing", the only key whose value differs between two equal runs on one machine. `outputs` lie
    beside `path`.

    Raises FileNotFoundError for an input or output that is not there, ValueError for a key of `extra` that is taken.
    """
    record: dict[str, Any] = {
        "stage": stage,
        "study": study.name,
        "seeds": sorted(seeds),
        "config": study.model_dump(mode="json"),
        "config_digest": digest(study),
        "code": {"git": _git(), "source_sha256": _hash_folder(_PACKAGE, "*.py"), "locks": _locks()},
        "inputs": {name: {"path": where.as_posix(), "sha256": content_hash(where)} for name, where in inputs.items()},
        "outputs": {
            name: {"path": where.name, "sha256": content_hash(where), "bytes": _bytes(where)}
            for name, where in (outputs or {}).items()
        },
        "extensions": packages(study.model_dump(mode="json")),
        "packages": _packages(),
        "hardware": _hardware(),
        "timing": {"finished": datetime.now(UTC).isoformat(timespec="seconds")},
    }
    for name, value in extra.items():
        if name == "timing":
            record["timing"] |= value
        elif name == "seconds":
            record["timing"]["seconds"] = value
        elif name in record:
            raise ValueError(f"{path}: extra key {name!r} is taken by the run record: choose another name")
        else:
            record[name] = value
    write_text(path, json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def hash_path(path: Path) -> str:
    """sha256 of a file's bytes; of a folder, over the names and hashes of its files.

    Files called run.json do not count, because they hold times, and neither does the mark that Snakemake puts into a
    folder afterwards. FileNotFoundError where nothing is at `path`.
    """
    if path.is_dir():
        return _hash_folder(path)
    return file_sha256(path)


def content_hash(path: Path) -> str:
    """`hash_path`, read once for weights of many gigabytes: whoever hashes a folder, a model's training first, leaves a
    note of `hash_notes` beside it."""
    return noted_hash(path, _files(path), lambda: hash_path(path)) if path.is_dir() else hash_path(path)


def code_revision() -> str:
    """Short git revision of the code, with "+changes" where it was changed since; else "unversioned"."""
    git = _git()
    return "unversioned" if git is None else f"{git['revision'][:12]}{'+changes' if git['dirty'] else ''}"


def _files(folder: Path, pattern: str = "*") -> list[Path]:
    """Its files at every depth, but for those that say when it was made."""
    marks = (RUN_FILE, ".snakemake_timestamp")
    return [file for file in folder.rglob(pattern) if file.is_file() and file.name not in marks]


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in (_files(path) if path.is_dir() else [path]))


def _hash_folder(folder: Path, pattern: str = "*") -> str:
    files = {file.relative_to(folder).as_posix(): file for file in _files(folder, pattern)}
    total = hashlib.sha256()
    for name, file in sorted(files.items()):
        total.update(f"{name}\0{hash_path(file)}\n".encode())
    return total.hexdigest()


def _git() -> dict[str, Any] | None:
    """Revision of the checkout the package runs from, and whether what decides results differs from it; None where the
    package is installed elsewhere or there is no git."""
    if _run("git", "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    revision, changes = _run("git", "rev-parse", "HEAD"), _run("git", "status", "--porcelain", "--", *_DECIDING)
    return None if revision is None or changes is None else {"revision": revision, "dirty": bool(changes)}


def _locks() -> dict[str, str]:
    return {lock.name: hash_path(lock) for lock in sorted((_ROOT / "envs").glob("*.lock.txt"))}


def _packages() -> dict[str, str]:
    return {distribution.metadata["Name"]: distribution.version for distribution in metadata.distributions()}


def _hardware() -> dict[str, Any]:
    """Processor, memory and GPUs of this machine, and the system that runs it."""
    memory = None
    with contextlib.suppress(ValueError, OSError):
        memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    gpus = _run("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": memory,
        "gpus": gpus.splitlines() if gpus else [],
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def processor() -> str:
    """The name of this machine's processor."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _run(*command: str) -> str | None:
    """What a command prints, run in the package's folder; None where it is missing or fails."""
    if shutil.which(command[0]) is None:
        return None
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(command, cwd=_PACKAGE, capture_output=True, text=True, timeout=30, check=False)
        return done.stdout.strip() if done.returncode == 0 else None
    return None
