"""Evaluations: every benchmark under every decoding, recorded question by question, of one method or of several that
share a policy."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from mrsearch.config import Study
from mrsearch.config.shared_policies import require_one_policy
from mrsearch.evaluation.folders import EvaluationInputs, MethodFolders
from mrsearch.evaluation.method_run import MethodRun
from mrsearch.files import locked

log = logging.getLogger(__name__)


def evaluate_methods(
    study: Study,
    model: str,
    folders: Mapping[str, MethodFolders],
    seed: int,
    inputs: EvaluationInputs,
    *,
    limit: int | None = None,
) -> None:
    """Write, for every method of `folders`, benchmark and decoding, the records of its questions and a file of their
    scores, and `out/run.json`. All methods are answered by one policy, which is opened once.

    `limit` asks only so many questions of each benchmark, the first by sha1 of the id, and stands in run.json then.
    What was finished before an interruption is taken from the caches, which are removed once everything is published:
    with a server every question, else chunks of `evaluation.concurrency`. Of several methods, those whose evaluation
    is in `out` already stay as they are. A second evaluation with the same cache waits for the first one. Records
    depend on the seed alone; times stand only in run.json, which describes the run as a training's does, with what each
    part took, what the policy's start took, and with warnings about a model that does not fit.

    Raises ValueError for methods that do not share a policy, for a limit below 1 or one that would replace an
    evaluation of more questions, when more searches fail or more questions run out of time than the study allows, and
    when questions and records do not match.
    """
    import torch

    require_one_policy(study, folders)
    torch.set_num_threads(study.resources.evaluate.threads)
    runs = [MethodRun(study, model, method, seed, inputs, folders[method], limit) for method in folders]
    with contextlib.ExitStack() as locks:
        # In one order, whatever the order of the methods, so that two processes never wait for each other.
        waited = {run.method: locks.enter_context(locked(run.lock)) for run in sorted(runs, key=lambda run: run.lock)}
        todo = [run for run in runs if not ((waited[run.method] or len(runs) > 1) and run.is_finished())]
        for run in runs:
            if run not in todo:
                log.info("%s: this evaluation is finished", run.folders.out)
        start = _answer(todo, inputs.policy)
        job = {"methods": [run.method for run in todo], "policy_start_seconds": start}
        # Not one by one: where a later method fails, Snakemake writes the old files back, through links that the
        # finished ones in the cache would share.
        for run in todo:
            run.publish(job)
        for run in todo:
            run.forget()


def _answer(runs: Sequence[MethodRun], policy: Path) -> float:
    """Answer what is not in the caches, method by method, over one policy; the seconds that its start took, 0 where
    none was needed. Each method that had to be answered counts an equal share of them among its own."""
    from mrsearch.policy.serving import open_policy

    waiting = [run for run in runs if run.prepare()]
    if not waiting:
        return 0.0
    study = waiting[0].study
    generator, protocol = study.evaluation.generator, study.protocol
    started = time.monotonic()
    with open_policy(
        generator,
        policy,
        protocol.longest_sequence,
        waiting[0].server_log,
        closing=protocol.tags.closing,
        template=protocol.chat_template,
        job=("evaluate", study.resources.evaluate.gpus),
    ) as opened:
        seconds = time.monotonic() - started
        for run in waiting:
            run.seconds += seconds / len(waiting)
            run.answer(opened)
    return seconds
