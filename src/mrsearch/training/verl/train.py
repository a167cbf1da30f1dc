"""`mrsearch train` with verl: on every node of the job, from the files to the exported model."""

from __future__ import annotations

import logging
from pathlib import Path

from mrsearch.cluster.stopping import Stopped, stop_file
from mrsearch.config import Study
from mrsearch.files import read_json
from mrsearch.training import groups
from mrsearch.training.inputs import Inputs
from mrsearch.training.verl import recipe
from mrsearch.training.verl.prepare import prepare
from mrsearch.training.verl.ray_cluster import Node, ray_cluster
from mrsearch.training.verl.state import RunFolder
from mrsearch.training.verl.surroundings import surroundings

log = logging.getLogger(__name__)
LOGICAL_CPUS = 16
"""What Ray is told without GPUs, where its processes share the cores; each of verl's asks for one."""


def train_with_verl(study: Study, model: str, method: str, seed: int, inputs: Inputs, out: Path, run_dir: Path) -> bool:
    """Train, export to `out` and return True; on a node that only lends its GPUs, return False when all is done.

    `run_dir` keeps checkpoints: called again, the training goes on from the newest. Stopped where SIGUSR2 asked for a
    stop after the next step.
    """
    folder = RunFolder(run_dir.absolute())
    node = _node(study, folder.root)
    if not _finished(folder):
        with ray_cluster(node, _environment(study, folder)) as address:
            if address is not None:
                places = prepare(study, method, seed, inputs, folder.root, address)
                _drive(study, model, method, seed, places, folder)
    if node.rank:
        return False
    if not _finished(folder):
        raise Stopped
    from mrsearch.training.verl.merge import export_checkpoint

    export_checkpoint(folder.checkpoint(folder.chosen(study.training.verl.export)), inputs.start, out)
    groups.publish(folder.root, out.with_name(groups.FILE))
    return True


def _drive(study: Study, model: str, method: str, seed: int, places: recipe.Places, folder: RunFolder) -> None:
    from mrsearch.training.verl.driver import run

    config = recipe.compose(recipe.settings(study, model, method, seed, places))
    recipe.validate(config)
    (folder.root / "verl.yaml").write_text(recipe.as_yaml(config), encoding="utf-8")
    folder.ended.unlink(missing_ok=True)
    last = folder.last()
    if last is not None:
        log.info("continuing after step %d", last)

    with stop_file(folder.stop):
        run(config)
    if not folder.ended.is_file():
        raise RuntimeError("verl's trainer returned without an end: its output stands above in this log")


def _finished(folder: RunFolder) -> bool:
    """Whether the training has come to its own end."""
    ended = read_json(folder.ended)
    return ended is not None and ended["reason"] != "stopped"


def _node(study: Study, folder: Path) -> Node:
    asked = study.resources.train
    if recipe.on_cpu(study):
        ranks = max(1, study.training.verl.cpu_ranks // asked.nodes)
        return Node(folder, LOGICAL_CPUS, ranks, object_store_mb=500)
    return Node(folder, asked.threads, asked.gpus)


def _environment(study: Study, folder: RunFolder) -> dict[str, str]:
    """What all of Ray's processes on this node inherit."""
    ray = {
        "HYDRA_FULL_ERROR": "1",
        "RAY_DEDUP_LOGS": "0",
        # Nobody else uses this cluster: it may end at once.
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    }
    return surroundings(folder, recipe.on_cpu(study)) | ray
