"""Where a training with verl goes on: its log up to a checkpoint, and whether its health lets it."""

from __future__ import annotations

from mrsearch.config.training import PolicyTraining
from mrsearch.files import read_json
from mrsearch.training.health import HealthMonitor, ReasoningMonitor
from mrsearch.training.log import TrainingLog
from mrsearch.training.outlook import Budget
from mrsearch.training.run import TrainingRun
from mrsearch.training.verl.rl.health import Monitor
from mrsearch.training.verl.run_files import RunFiles


def resumed_log(run: TrainingRun, files: RunFiles, done: int) -> TrainingLog:
    """The training log up to step `done`, 0 being the beginning; rows after it are dropped.

    An interruption between a checkpoint and its log line leaves a gap, which the checkpoint's own row fills.
    """
    steps = TrainingLog(run.folder, run.title, Budget.of(run))
    steps.resume_at(done)
    row = read_json(files.row(done))
    if row is not None and done - 1 not in {row["step"] for row in steps.rows()}:
        steps.add(row)
    return steps


def monitors_of(training: PolicyTraining) -> tuple[HealthMonitor, ...]:
    """Whoever raises alarms about a training with verl."""
    return Monitor(training.verl.health), ReasoningMonitor(training.reasoning)
