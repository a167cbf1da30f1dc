"""Supervised training on scripted demonstrations, so that a tiny model can format, search and copy."""

from __future__ import annotations

import asyncio
import functools

from mrsearch.agent.ports import SearchEngine
from mrsearch.policy.tokenizer import load_tokenizer
from mrsearch.training.log import TrainingLog
from mrsearch.training.run import TrainingRun
from mrsearch.training.sft.loop import SftData, train_supervised
from mrsearch.training.sft.scripted import name_classes, relabelled, scripted_demonstrations


def warm_start(run: TrainingRun, engine: SearchEngine, steps: TrainingLog) -> None:
    """Train the starting model on scripted demonstrations and export it; resumes from the run's folder."""
    study, tokenizer = run.study, load_tokenizer(run.inputs.start)
    config = study.warm_start
    demonstrations = asyncio.run(scripted_demonstrations(study, tokenizer, engine, config.demonstrations, run.seed))
    rename = None
    if config.relabel:
        rename = functools.partial(relabelled, name_classes(tokenizer, study), len(tokenizer))
    data = SftData(
        config,
        demonstrations,
        [len(demonstration.token_ids) for demonstration in demonstrations],
        "warm_start",
        micro_batch_size=config.train_batch_size,
        context_loss_weight=config.context_loss_weight,
        rename=rename,
    )
    train_supervised(run, data, steps)
