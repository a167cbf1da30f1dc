"""From a study's method to the trainer that trains it."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrsearch.config import Study
from mrsearch.config.methods import WITHOUT_SEARCH
from mrsearch.training.inputs import DEMONSTRATIONS, Inputs

if TYPE_CHECKING:
    from mrsearch.agent.ports import SearchEngine
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

    extra: dict[str, Any]
    steps = StepLog(run_dir, f"{model}/{method}/seed{seed}", study.training_steps(method))
    inputs = Inputs(start, questions, corpus, indexes, endpoint)
    stage = study.training_stage(method)
    if stage == "train" and study.training.backend == "verl":
        from mrsearch.training.verl.train import train_with_verl

        if not train_with_verl(study, model, method, seed, inputs, out, run_dir):
            return
    elif stage == "fine_tuning":
        _fine_tune(study, model, method, seed, inputs, out, steps, run_dir)
    else:
        _train_here(study, model, method, seed, inputs, out, steps, run_dir)
    steps.publish(log_file)
    read = {"start": start, "questions": questions}
    extra = {"model": model, "method": method, "seconds": sum(row["seconds"] for row in steps.rows())}
    if stage == "fine_tuning":
        demonstrations: dict[str, Any] = json.loads((run_dir / DEMONSTRATIONS).read_text(encoding="utf-8"))
        extra["seconds"] += demonstrations.pop("seconds")
        extra["demonstrations"] = demonstrations
    write_run(run, study=study, stage="train", inputs=read, seeds=[seed], extra=extra)


def _fine_tune(
    study: Study, model: str, method: str, seed: int, inputs: Inputs, out: Path, steps: StepLog, run_dir: Path
) -> None:
    """Make what is imitated, then train on it: in this process, or in verl's."""
    import torch

    from mrsearch.tracking import Tracker
    from mrsearch.training.demonstrations import Demonstrations

    torch.set_num_threads(study.resources.fine_tuning.threads)
    with _engine_of(study, method, inputs) as engine:
        traces = Demonstrations(study, model, method, seed, inputs, engine, run_dir).make()
    if study.fine_tuning.backend == "verl":
        from mrsearch.training.verl.sft import fine_tune_with_verl

        return fine_tune_with_verl(study, model, method, seed, inputs.start, traces, out, run_dir)
    from mrsearch.training.fine_tuning import fine_tune

    config = study.model_dump(mode="json")
    with _flushed_denormals(), Tracker.start(study.name, model, method, seed, config, run_dir) as tracker:
        steps.listener = lambda row: tracker.log(row["step"], row)
        fine_tune(study, seed, inputs.start, traces, out, steps, run_dir)
        tracker.reference(f"{model}-{method}-seed{seed}", "model", [out])


def _engine_of(study: Study, method: str, inputs: Inputs) -> contextlib.AbstractContextManager[SearchEngine | None]:
    """The engine that a method searches with; None for procedures that do not search."""
    if study.methods[method].procedure in WITHOUT_SEARCH:
        return contextlib.nullcontext()
    from mrsearch.retrieval.engine import open_engine

    return contextlib.closing(open_engine(study, inputs.corpus, inputs.indexes, inputs.endpoint))


def _train_here(
    study: Study, model: str, method: str, seed: int, inputs: Inputs, out: Path, steps: StepLog, run_dir: Path
) -> None:
    """The warm start and the local trainer, in this process."""
    import torch

    from mrsearch.retrieval.engine import open_engine
    from mrsearch.tracking import Tracker

    stage = study.training_stage(method)
    torch.set_num_threads(getattr(study.resources, stage).threads)
    config = study.model_dump(mode="json")
    with (
        _flushed_denormals(),
        Tracker.start(study.name, model, method, seed, config, run_dir) as tracker,
        contextlib.closing(open_engine(study, inputs.corpus, inputs.indexes, inputs.endpoint)) as engine,
    ):
        steps.listener = lambda row: tracker.log(row["step"], row)
        if stage == "warm_start":
            from mrsearch.training.warm_start import warm_start

            warm_start(study, seed, start=inputs.start, engine=engine, out=out, steps=steps, run_dir=run_dir)
        else:
            from mrsearch.agent.questions import read_questions
            from mrsearch.training.local import LocalTrainer
            from mrsearch.training.samples import COLUMNS, sample_rows

            questions = read_questions(inputs.questions)
            trainer = LocalTrainer(study, method, seed, questions, engine, inputs.start, steps, run_dir)
            trainer.show = lambda step, metas: tracker.table(
                step, "samples", COLUMNS, sample_rows(step, metas, study.protocol)
            )
            trainer.train(out)
        tracker.reference(f"{model}-{method}-seed{seed}", "model", [out])


@contextlib.contextmanager
def _flushed_denormals() -> Iterator[None]:
    """Denormal numbers slow the arithmetic of a tiny model down on some CPUs and change no result that matters. What
    runs in this process afterwards counts with them again."""
    import torch

    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
