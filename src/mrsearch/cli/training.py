"""`mrsearch train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mrsearch.cli import options
from mrsearch.cli import scheduler as placement


def train(
    study: options.Study,
    model: options.Model,
    method: options.Method,
    seed: options.Seed,
    start: Annotated[Path, typer.Option(help="Hugging Face folder of the starting weights.")],
    questions: Annotated[Path, typer.Option(help="train.parquet.")],
    corpus: options.Corpus,
    indexes: options.Indexes,
    out: options.Out,
    log: Annotated[Path, typer.Option(help="Training log to write, one JSON row a step.")],
    run: Annotated[Path, typer.Option(help="run.json to write: configuration, revisions, hashes, hardware.")],
    run_dir: Annotated[Path, typer.Option(help="Folder of checkpoints, from which an interrupted training goes on.")],
    endpoint: options.Endpoint = None,
    scheduler: placement.Where = placement.Scheduler.in_process,
    site: placement.Site = placement.SITE,
    threads: placement.Threads = None,
    mem_mb: placement.Memory = None,
    runtime: placement.Runtime = None,
    gpus: placement.Gpus = None,
    nodes: placement.Nodes = None,
    gpu_environment: placement.GpuEnvironment = placement.GPU_ENVIRONMENT,
    train_environment: placement.TrainEnvironment = placement.TRAIN_ENVIRONMENT,
    dry_run: Annotated[
        bool, typer.Option(help="Print the batch script and the resolved study; submit nothing.")
    ] = False,
) -> None:
    """Train one method from its starting weights and export it as a Hugging Face folder.

    With --scheduler local or slurm the training is a job of its own: this command submits it, or attaches to it where
    it runs already, shows its progress and returns when it has ended.
    """
    from mrsearch.config import read_study
    from mrsearch.training.run import Inputs, Outputs, TrainingRun

    inputs = Inputs(start, questions, corpus, indexes, endpoint)
    training = TrainingRun(read_study(study), model, method, seed, inputs, Outputs(out, log, run), run_dir)
    if scheduler is placement.Scheduler.in_process and not dry_run:
        from mrsearch.training.launch import train_method

        return train_method(training)
    from mrsearch.cluster.commands import option_words
    from mrsearch.training.submit import job_target, rendered_training, submit_training, training_python

    names = {"study": study, "model": model, "method": method, "seed": seed}
    files = {"start": start, "questions": questions, "corpus": corpus, "indexes": indexes, "out": out, "log": log}
    arguments = {**names, **files, "run": run, "run_dir": run_dir, "endpoint": endpoint}
    resources = {"threads": threads, "mem_mb": mem_mb, "runtime": runtime, "gpus": gpus, "nodes": nodes}
    target = job_target(training, str(scheduler), site, resources)
    python = training_python(training.study, method, gpu_environment, train_environment, target)
    if dry_run:
        typer.echo(rendered_training(training, option_words(arguments), target, python))
        return
    with placement.failures_told():
        submit_training(training, option_words(arguments), target, typer.echo, python)
