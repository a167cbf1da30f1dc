"""Trying the links of a rehearsal one after the other, and what their rates say about the whole study."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrsearch.cluster.signals import ENDING, interrupts
from mrsearch.config import Run, Study
from mrsearch.files import write_json
from mrsearch.rehearsal.links import LinkFailed, Rehearsal

Show = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One link: whether it held, what it said, and the seconds it took."""

    name: str
    passed: bool
    message: str
    seconds: float


def rehearse(study: Study, rehearsal: Rehearsal, show: Show) -> bool:
    """Try every link until one does not hold, show each as it ends, then the projection for `study`; whether all held.

    What an earlier rehearsal left in its folder is removed; what is measured stands in `rehearsal.result`. Signals that
    end a command, and a job's notice, leave no server behind either, and end in Signalled.
    """
    with interrupts(*ENDING, signal.SIGUSR2):
        return _rehearse(study, rehearsal, show)


def _rehearse(study: Study, rehearsal: Rehearsal, show: Show) -> bool:
    if rehearsal.layout.root.exists():
        rehearsal.end()
        shutil.rmtree(rehearsal.layout.root)
    outcomes: list[Outcome] = []
    try:
        for name, link in rehearsal.links():
            outcomes.append(_tried(name, link))
            mark = "pass" if outcomes[-1].passed else "FAIL"
            show(f"{mark}  {name} ({outcomes[-1].seconds:.0f} s): {outcomes[-1].message}")
            if not outcomes[-1].passed:
                break
    finally:
        rehearsal.end()
    passed = all(outcome.passed for outcome in outcomes)
    if passed:
        for line in projection(study, rehearsal):
            show(line)
    result: dict[str, Any] = {"study": study.name, "held": passed, "measured": rehearsal.measured}
    result["links"] = [
        {"name": outcome.name, "held": outcome.passed, "message": outcome.message, "seconds": outcome.seconds}
        for outcome in outcomes
    ]
    rehearsal.result.parent.mkdir(parents=True, exist_ok=True)
    write_json(rehearsal.result, result)
    return passed


def projection(study: Study, rehearsal: Rehearsal) -> list[str]:
    """What the measured rates say of the whole study: hours of one training and of one evaluation."""
    from mrsearch.planning import speed
    from mrsearch.planning.plan import Plan

    study = study.of(rehearsal.method)
    measured, lines = rehearsal.measured, []
    plan = Plan(study, speed.card_named("h100"), speed.Assumptions())
    small = rehearsal.study.training
    if "step_seconds" in measured:
        times = study.training.train_batch_size / small.train_batch_size
        seconds = measured["step_seconds"] * times * study.training.steps
        trainings = sum(method.train is not None for method in study.methods.values())
        trainings *= len(study.seeds) * len(study.models)
        lines.append(
            f"A training of {study.training.steps} steps of {study.training.train_batch_size} questions: "
            f"{_hours(seconds + measured['training_start_seconds'])}; this study has {trainings}."
        )
    rate = measured.get("trained_tokens_per_second", measured.get("untrained_tokens_per_second"))
    if rate and (count := plan.questions() * len(study.evaluation.decoding)):
        generated = plan.length(rehearsal.method).generated
        lines.append(
            f"An evaluation of {count:,} questions with {generated:.0f} generated tokens each: "
            f"{_hours(count * generated / rate)}; this study has "
            f"{len(study.methods) * len(study.seeds) * len(study.models)}."
        )
    if study.resources.train.nodes > 1:
        lines.append(f"Trainings were measured on one node; the study's have {study.resources.train.nodes}.")
    if "exact_searches_per_second" in measured:
        lines.append(
            f"Exact search over {measured['exact_rows']:,.0f} vectors: {measured['exact_searches_per_second']:,.0f} "
            "queries/s, 64 at once."
        )
    lines.append("Measured with random weights, whose meta-episodes are longer or shorter than those of trained ones.")
    return lines


def rehearsal_of(study: Study, run: Run, model: str | None, batch: int, out: Path) -> Rehearsal:
    """The rehearsal of a study in the folder `out`; ValueError where verl's environment is missing."""
    from mrsearch.rehearsal.study import rehearsed, rehearsed_method
    from mrsearch.training.submit import JobTarget, training_python

    small = rehearsed(study, model, batch)
    paths = run.paths.model_copy(update={"results": str(out), "resources": str(out / "resources")})
    target = JobTarget("local", Path(run.site), small.resources.train)
    method = rehearsed_method(small)
    python = None
    if small.methods[method].train:
        python = training_python(
            small, method, Path(run.paths.gpu_environment), Path(run.paths.train_environment), target
        )
    return Rehearsal(run.model_copy(update={"paths": paths}), small, python or Path(sys.executable))


def _tried(name: str, link: Callable[[], str]) -> Outcome:
    began = time.monotonic()
    try:
        message, passed = link(), True
    except LinkFailed as error:
        message, passed = str(error), False
    except Exception as error:  # whatever breaks a link is what the rehearsal is there to find
        message, passed = f"{type(error).__name__}: {error}", False
    return Outcome(name, passed, message, time.monotonic() - began)


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"
