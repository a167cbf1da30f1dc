"""Fine-tuning with verl's supervised trainer, in child processes of its own, one a GPU."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

from mrsearch.cluster.children import ended_with_parent
from mrsearch.cluster.stopping import Stopped, stop_file
from mrsearch.config import Study, write_study
from mrsearch.training.supervised import plan
from mrsearch.training.trace_file import TraceFile
from mrsearch.training.verl import sft_recipe
from mrsearch.training.verl.merge import export_checkpoint
from mrsearch.training.verl.recipe import as_yaml
from mrsearch.training.verl.sft_dataset import write_plan
from mrsearch.training.verl.state import RunFolder
from mrsearch.training.verl.surroundings import surroundings

log = logging.getLogger(__name__)
WORKER = "mrsearch.training.verl.sft_worker"


def fine_tune_with_verl(
    study: Study, model: str, method: str, seed: int, start: Path, traces: Path, out: Path, run_dir: Path
) -> None:
    """Train the model in `start` on a file of traces and export it to `out`; resumes from checkpoints in `run_dir`.

    Stopped where SIGUSR2 asked for a stop after the next step; RuntimeError where the trainer fails, or where the
    exported weights are not those that were trained.
    """
    folder, steps = RunFolder(run_dir.absolute()), study.fine_tuning.steps
    if folder.last() != steps:
        places = sft_recipe.Places.below(folder.root, start.absolute(), traces.absolute())
        write_study(study, Path(places.study))
        write_plan(Path(places.plan), plan(study.fine_tuning, TraceFile(traces).lengths, seed))
        config = sft_recipe.compose(sft_recipe.settings(study, model, method, seed, places))
        described = folder.root / "verl.yaml"
        described.write_text(as_yaml(config), encoding="utf-8")
        _train(study, described, folder)
        if folder.last() != steps:
            raise Stopped
    export_checkpoint(folder.checkpoint(steps), start, out, shards=".")


def _train(study: Study, config: Path, folder: RunFolder) -> None:
    """Run the trainer's processes to their end; SIGUSR2 meanwhile asks them to stop after the step under way."""
    processes = ["--standalone", f"--nproc-per-node={sft_recipe.ranks(study)}"]
    command = [sys.executable, "-m", "torch.distributed.run", *processes, "-m", WORKER, str(config)]
    # The launcher ends its processes on SIGTERM; they also end with it by themselves.
    die, environment = ended_with_parent(signal.SIGTERM), _environment(study, folder)
    with stop_file(folder.stop), subprocess.Popen(command, env=environment, preexec_fn=die) as trainer:
        status = trainer.wait()
    if status:
        raise RuntimeError(f"verl's supervised trainer ended with status {status}: its output stands above in this log")


def _environment(study: Study, folder: RunFolder) -> dict[str, str]:
    # Where torch's launcher finds no setting it sets one itself, with a warning.
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    return os.environ | threads | surroundings(folder, sft_recipe.on_cpu(study))
