"""Fine-tuning in this process."""

from __future__ import annotations

from pathlib import Path

from mrsearch.config import Study
from mrsearch.training.steplog import StepLog
from mrsearch.training.supervised import Job, train_supervised
from mrsearch.training.trace_file import TraceFile


def fine_tune(study: Study, seed: int, start: Path, traces: Path, out: Path, steps: StepLog, run_dir: Path) -> None:
    """Train the model in `start` on a file of traces and export it to `out`; resumes from checkpoints in `run_dir`."""
    config, chosen = study.fine_tuning, TraceFile(traces)
    job = Job(config, chosen, chosen.lengths, seed, "fine_tuning", microbatch=config.microbatch)
    train_supervised(job, start, out, steps, run_dir)
