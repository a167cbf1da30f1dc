"""Checkpoints of the local trainers: everything that a bitwise equal continuation needs."""

from __future__ import annotations

import json
import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mrsearch.files import atomic_folder, remove_abandoned
from mrsearch.seal import damage, seal

log = logging.getLogger(__name__)
PREFIX = "step-"
NAME = re.compile(rf"{PREFIX}[0-9]{{6,}}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A finished checkpoint: the next step to run, and the trainer's own counters."""

    next_step: int
    counters: dict[str, Any]
    folder: Path


def save(
    run_dir: Path, next_step: int, model: Any, optimizer: torch.optim.Optimizer, counters: dict[str, Any], keep: int
) -> None:
    """Write the checkpoint of `next_step` below `run_dir`, whole or not at all, and drop all but `keep`."""
    with atomic_folder(run_dir / f"{PREFIX}{next_step:06d}") as draft:
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, draft / "state.pt")
        (draft / "counters.json").write_text(json.dumps(counters))
        seal(draft)
    for old in _folders(run_dir)[:-keep]:
        shutil.rmtree(old)


def latest(run_dir: Path) -> Checkpoint | None:
    """The newest whole checkpoint, or None; newer ones that a crash of the machine or a full disk damaged are named in
    a warning and removed, and so are leftovers of an interrupted save."""
    remove_abandoned(run_dir, f"{PREFIX}*")
    for folder in reversed(_folders(run_dir)):
        if (reason := damage(folder)) is None:
            counters = json.loads((folder / "counters.json").read_text())
            return Checkpoint(int(folder.name.removeprefix(PREFIX)), counters, folder)
        log.warning("%s: the checkpoint is damaged and is removed; an older one is used, or none", reason)
        shutil.rmtree(folder)
    return None


def restore(checkpoint: Checkpoint, model: Any, optimizer: torch.optim.Optimizer) -> None:
    """Load weights and optimizer state, onto the device that the model lies on; only tensors and plain values are
    unpickled."""
    state = torch.load(checkpoint.folder / "state.pt", map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    log.info("continuing at step %d from %s", checkpoint.next_step, checkpoint.folder.name)


def _folders(run_dir: Path) -> list[Path]:
    return sorted(folder for folder in run_dir.glob(f"{PREFIX}*") if folder.is_dir() and NAME.fullmatch(folder.name))
