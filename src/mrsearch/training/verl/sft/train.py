"""Fine-tuning with verl's supervised trainer, in child processes of its own, one a GPU."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from mrsearch.cluster.children import start_child
from mrsearch.cluster.stopping import Stopped, stop_file
from mrsearch.files import write_text
from mrsearch.training.run import TrainingRun
from mrsearch.training.sft.demonstration_file import DemonstrationFile
from mrsearch.training.sft.loop import plan
from mrsearch.training.verl.compose import as_yaml
from mrsearch.training.verl.environment import process_environment
from mrsearch.training.verl.export import export_checkpoint
from mrsearch.training.verl.run_files import RunFiles
from mrsearch.training.verl.sft import recipe as sft_recipe
from mrsearch.training.verl.sft.dataset import write_plan

log = logging.getLogger(__name__)
WORKER = "mrsearch.training.verl.sft.worker"


def fine_tune_with_verl(run: TrainingRun, demonstrations: Path) -> None:
    """Train the starting model on a file of demonstrations and export it; resumes from the run's folder.

    Stopped where SIGUSR2 asked for a stop after the next step; RuntimeError where the trainer fails, or where the
    exported weights are not those that were trained.
    """
    run = run.absolute()
    files, steps = RunFiles(run.folder), run.study.sft.steps
    if files.recover() != steps:
        run.write(files.run)
        write_plan(files.plan, plan(run.study.sft, DemonstrationFile(demonstrations).lengths, run.seed))
        write_text(files.config, as_yaml(sft_recipe.compose(sft_recipe.settings(run))))
        _train(run, files)
        if files.last() != steps:
            raise Stopped
    export_checkpoint(files.checkpoint(steps), run.inputs.start, run.out.model, shards=".")


def _train(run: TrainingRun, files: RunFiles) -> None:
    """Run the trainer's processes to their end; SIGUSR2 meanwhile asks them to stop after the step under way."""
    processes = ["--standalone", f"--nproc-per-node={sft_recipe.ranks(run.study)}"]
    command = [sys.executable, "-m", "torch.distributed.run", *processes, "-m", WORKER, str(files.config)]
    # The launcher ends its processes on SIGTERM; they also end with it by themselves.
    with stop_file(files.stop), start_child(command, env=_environment(run)) as trainer:
        status = trainer.wait()
    if status:
        raise RuntimeError(f"verl's supervised trainer ended with status {status}: its output stands above in this log")


def _environment(run: TrainingRun) -> dict[str, str]:
    # Where torch's launcher finds no setting it sets one itself, with a warning.
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    return os.environ | threads | process_environment(run.folder, sft_recipe.on_cpu(run.study))
