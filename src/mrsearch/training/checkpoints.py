"""Checkpoints of the local trainers: everything that a bitwise equal continuation needs."""

from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

log = logging.getLogger(__name__)
PREFIX = "step-"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A finished checkpoint: the next step to run, and the trainer's own counters."""

    next_step: int
    counters: dict[str, Any]
    folder: Path


def save(
    run_dir: Path, next_step: int, model: Any, optimizer: torch.optim.Optimizer, counters: dict[str, Any], keep: int
) -> None:
    """Write the checkpoint of `next_step` below `run_dir` (temporary folder, then rename) and drop all but `keep`."""
    run_dir.mkdir(parents=True, exist_ok=True)
    final = run_dir / f"{PREFIX}{next_step:06d}"
    part = run_dir / f".part-{os.getpid()}"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, part / "state.pt")
    (part / "counters.json").write_text(json.dumps(counters))
    if final.exists():
        shutil.rmtree(final)
    part.rename(final)
    for old in _folders(run_dir)[:-keep]:
        shutil.rmtree(old)


def latest(run_dir: Path) -> Checkpoint | None:
    """The newest finished checkpoint, or None; leftovers of an interrupted save are removed."""
    for part in run_dir.glob(".part-*"):
        shutil.rmtree(part, ignore_errors=True)
    folders = _folders(run_dir)
    if not folders:
        return None
    folder = folders[-1]
    return Checkpoint(int(folder.name.removeprefix(PREFIX)), json.loads((folder / "counters.json").read_text()), folder)


def restore(checkpoint: Checkpoint, model: Any, optimizer: torch.optim.Optimizer) -> None:
    """Load weights and optimizer state; only tensors and plain values are unpickled."""
    state = torch.load(checkpoint.folder / "state.pt", weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    log.info("continuing at step %d from %s", checkpoint.next_step, checkpoint.folder.name)


def _folders(run_dir: Path) -> list[Path]:
    return sorted(folder for folder in run_dir.glob(f"{PREFIX}*") if folder.is_dir())
