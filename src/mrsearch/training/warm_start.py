"""Supervised training on scripted traces, so that a tiny model can format, search and copy."""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path

from mrsearch.agent.ports import SearchEngine
from mrsearch.config import Study
from mrsearch.policy.tokenizer import load_tokenizer
from mrsearch.training.steplog import StepLog
from mrsearch.training.supervised import Job, train_supervised
from mrsearch.training.traces import make_traces, name_classes, relabelled


def warm_start(
    study: Study, seed: int, *, start: Path, engine: SearchEngine, out: Path, steps: StepLog, run_dir: Path
) -> None:
    """Train the model in `start` on scripted traces and export it to `out`; resumes from checkpoints in `run_dir`."""
    config, tokenizer = study.warm_start, load_tokenizer(start)
    traces = asyncio.run(make_traces(study, tokenizer, engine, config.traces, seed))
    rename = None
    if config.relabel:
        rename = functools.partial(relabelled, name_classes(tokenizer, study), len(tokenizer))
    job = Job(
        config,
        traces,
        [len(trace.token_ids) for trace in traces],
        seed,
        "warm_start",
        microbatch=config.batch_traces,
        context_loss_weight=config.context_loss_weight,
        rename=rename,
    )
    train_supervised(job, start, out, steps, run_dir)
