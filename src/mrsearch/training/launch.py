"""From one training to the trainer that runs it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mrsearch.training.ending import told_of_its_end
from mrsearch.training.run import TrainingRun

if TYPE_CHECKING:
    from mrsearch.agent.ports import SearchEngine
    from mrsearch.config import Study
    from mrsearch.training.log import TrainingLog


def train_method(run: TrainingRun) -> None:
    """Train, and write the model, its training log and its run record."""
    from mrsearch.training.log import TrainingLog
    from mrsearch.training.outlook import Budget

    steps = TrainingLog(run.folder, run.title, Budget.of(run))
    if run.stage == "train" and run.study.training.backend == "verl":
        from mrsearch.training.verl.rl.train import train_with_verl

        if not train_with_verl(run):
            return
    else:
        with told_of_its_end(run.title, lambda: _finished_steps(run)):
            _fine_tune(run, steps) if run.stage == "sft" else _train_here(run, steps)
    steps.publish(run.out.log)
    _write_record(run, steps)


def verl_config(study: Study, model: str, method: str, seed: int) -> str:
    """verl's whole configuration of a training as YAML, which trains nothing; ValueError where the study names no such
    model, or no such training with verl."""
    from mrsearch.training.verl.compose import as_yaml
    from mrsearch.training.verl.rl import recipe as rl_recipe

    settings = study.methods.get(method)
    stage = study.training_stage(method) if settings and settings.train else None
    if settings and (stage in (None, "warm_start") or (stage == "sft" and not study.trained_by_verl(method))):
        raise ValueError(
            f"methods.{method} is not trained by verl: it has neither a policy training nor a fine-tuning with "
            "sft.backend: verl"
        )
    run = TrainingRun.planned(study, model, method, seed)
    if stage == "sft":
        from mrsearch.training.verl.sft import recipe as sft_recipe

        return as_yaml(sft_recipe.compose(sft_recipe.settings(run)))
    return as_yaml(rl_recipe.compose(rl_recipe.settings(run)))


def _finished_steps(run: TrainingRun) -> int | None:
    """Steps that the newest checkpoint has behind it; None where there is none."""
    if run.stage == "sft" and run.study.sft.backend == "verl":
        from mrsearch.training.verl.run_files import RunFiles

        return RunFiles(run.folder).last()
    from mrsearch.training import checkpoints

    checkpoint = checkpoints.latest(run.folder)
    return None if checkpoint is None else checkpoint.next_step


def _write_record(run: TrainingRun, steps: TrainingLog) -> None:
    from mrsearch.retrieval.engine import described_by
    from mrsearch.runlog import write_run

    extra: dict[str, Any] = {"model": run.model, "method": run.method}
    extra["seconds"] = sum(row["seconds"] for row in steps.rows())
    if run.stage == "sft":
        demonstrations: dict[str, Any] = json.loads(run.demonstration_counts.read_text(encoding="utf-8"))
        extra["seconds"] += demonstrations.pop("seconds")
        extra["demonstrations"] = demonstrations
    inputs = {"start": run.inputs.start, "questions": run.inputs.questions}
    if run.stage == "warm_start" or run.study.methods[run.method].searches:
        inputs |= described_by(run.study, run.inputs.corpus, run.inputs.indexes)
    outputs = {"model": run.out.model}
    write_run(
        run.out.record, study=run.study, stage="train", inputs=inputs, outputs=outputs, seeds=[run.seed], extra=extra
    )


def _fine_tune(run: TrainingRun, steps: TrainingLog) -> None:
    """Make what is imitated, then train on it: in this process, or in verl's."""
    import torch

    from mrsearch.training.sft.demonstrations import Demonstrations

    torch.set_num_threads(run.study.resources.sft.threads)
    with _engine_of(run) as engine:
        demonstrations = Demonstrations(run, engine).make()
    if run.study.sft.backend == "verl":
        from mrsearch.training.verl.sft.train import fine_tune_with_verl

        return fine_tune_with_verl(run, demonstrations)
    from mrsearch.training.sft.loop import fine_tune

    with _flushed_denormals(), run.tracker() as tracker:
        steps.listener = lambda row: tracker.log(row["step"], row)
        fine_tune(run, demonstrations, steps)
        tracker.reference(run.reference, "model", [run.out.model])


def _engine_of(run: TrainingRun) -> contextlib.AbstractContextManager[SearchEngine | None]:
    """The engine that the training searches with; None for procedures that do not search."""
    from mrsearch.retrieval.engine import engine_of, open_engine

    files = run.inputs.corpus, run.inputs.indexes, run.inputs.endpoint
    # The warm start's script searches, whatever its method does.
    scripted = run.stage == "warm_start"
    engine = open_engine(run.study, *files) if scripted else engine_of(run.study, run.method, *files)
    return contextlib.nullcontext() if engine is None else contextlib.closing(engine)


def _train_here(run: TrainingRun, steps: TrainingLog) -> None:
    """The warm start and the local trainer, in this process."""
    import torch

    torch.set_num_threads(getattr(run.study.resources, run.stage).threads)
    with _flushed_denormals(), run.tracker() as tracker, _engine_of(run) as engine:
        steps.listener = lambda row: tracker.log(row["step"], row)
        if run.stage == "warm_start":
            from mrsearch.training.sft.warm_start import warm_start

            assert engine is not None
            warm_start(run, engine, steps)
        else:
            from mrsearch.training.rl.trainer import LocalTrainer
            from mrsearch.training.samples import COLUMNS, sample_rows

            reward, protocol = run.study.reward_of(run.method), run.study.protocol
            trainer = LocalTrainer(run, engine, steps)
            trainer.show = lambda step, metas: tracker.table(
                step, "samples", COLUMNS, sample_rows(step, metas, reward, protocol)
            )
            trainer.train()
        tracker.reference(run.reference, "model", [run.out.model])


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
