"""From a study's method to the trainer that trains it."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrsearch.config import Study

if TYPE_CHECKING:
    from mrsearch.training.steplog import StepLog

log = logging.getLogger(__name__)


def train_method(
    study: Study,
    model: str,
    method: str,
    seed: int,
    *,
    start: Path,
    questions: Path,
    corpus: Path,
    indexes: Path,
    endpoint: Path | None,
    out: Path,
    log_file: Path,
    run: Path,
    run_dir: Path,
) -> None:
    """Train `method` and write its model folder `out`, its training log and its run file.

    Checkpoints and the tracker's files lie in `run_dir`, which no rule declares, so an interrupted training continues.
    """
    from mrsearch.runlog import write_run
    from mrsearch.training.steplog import StepLog

    train = study.methods[method].train
    if train is None:
        raise ValueError(f"methods.{method} trains nothing: it runs the policy of {study.policy_of(method)!r}")
    total = study.warm_start.steps if train.algorithm == "sft" else study.training.steps
    steps = StepLog(run_dir, f"{model}/{method}/seed{seed}", total)
    places: dict[str, Any] = {
        "start": start,
        "questions": questions,
        "corpus": corpus,
        "indexes": indexes,
        "endpoint": endpoint,
    }
    if train.algorithm != "sft" and study.training.backend == "verl":
        from mrsearch.training.verl.train import train_with_verl

        if not train_with_verl(study, model, method, seed, **places, out=out, run_dir=run_dir):
            return
    else:
        _train_here(study, model, method, seed, **places, out=out, steps=steps, run_dir=run_dir)
    steps.publish(log_file)
    inputs = {"start": start, "questions": questions}
    extra = {"model": model, "method": method, "seconds": sum(row["seconds"] for row in steps.rows())}
    write_run(run, study=study, stage="train", inputs=inputs, seeds=[seed], extra=extra)


def _train_here(
    study: Study,
    model: str,
    method: str,
    seed: int,
    *,
    start: Path,
    questions: Path,
    corpus: Path,
    indexes: Path,
    endpoint: Path | None,
    out: Path,
    steps: StepLog,
    run_dir: Path,
) -> None:
    """The warm start and the local trainer, in this process."""
    import torch

    from mrsearch.retrieval.engine import open_engine
    from mrsearch.tracking import Tracker

    train = study.methods[method].train
    assert train is not None
    supervised = train.algorithm == "sft"
    resources = study.resources.warm_start if supervised else study.resources.train
    torch.set_num_threads(resources.threads)
    # Denormal numbers slow the arithmetic of a tiny model down on some CPUs and change no result that matters.
    torch.set_flush_denormal(True)
    config = study.model_dump(mode="json")
    with (
        Tracker.start(study.name, model, method, seed, config, run_dir) as tracker,
        contextlib.closing(open_engine(study, corpus, indexes, endpoint)) as engine,
    ):
        steps.listener = lambda row: tracker.log(row["step"], row)
        if supervised:
            from mrsearch.training.warm_start import warm_start

            warm_start(study, model, seed, start=start, engine=engine, out=out, steps=steps, run_dir=run_dir)
        else:
            from mrsearch.agent.questions import read_questions
            from mrsearch.training.local import LocalTrainer
            from mrsearch.training.samples import COLUMNS, sample_rows

            trainer = LocalTrainer(study, method, seed, read_questions(questions), engine, start, steps, run_dir)
            trainer.show = lambda step, metas: tracker.table(
                step, "samples", COLUMNS, sample_rows(step, metas, study.protocol)
            )
            trainer.train(out)
        tracker.reference(f"{model}-{method}-seed{seed}", "model", [out])
