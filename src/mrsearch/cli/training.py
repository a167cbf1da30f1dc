"""`mrsearch train` and `mrsearch evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mrsearch.cli import options, placement, verl_config


def train(
    study: options.Study,
    model: options.Model,
    method: options.Method,
    seed: options.Seed,
    start: Annotated[Path | None, typer.Option(help="Hugging Face folder of the starting weights.")] = None,
    questions: Annotated[Path | None, typer.Option(help="train.parquet.")] = None,
    corpus: Annotated[Path | None, typer.Option(help="Folder of the passage store.")] = None,
    indexes: Annotated[Path | None, typer.Option(help="Folder that holds one index folder per retriever.")] = None,
    out: Annotated[Path | None, typer.Option(help="What to write.")] = None,
    log: Annotated[Path | None, typer.Option(help="Training log to write, one JSON row a step.")] = None,
    run: Annotated[
        Path | None, typer.Option(help="run.json to write: configuration, revisions, hashes, hardware.")
    ] = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="Folder of checkpoints, from which an interrupted training goes on.")
    ] = None,
    endpoint: options.Endpoint = None,
    scheduler: placement.Where = placement.Scheduler.here,
    site: placement.Site = placement.SITE,
    threads: placement.Threads = None,
    mem_mb: placement.Memory = None,
    runtime: placement.Runtime = None,
    gpus: placement.Gpus = None,
    nodes: placement.Nodes = None,
    train_environment: placement.Environment = placement.ENVIRONMENT,
    dry_run: Annotated[
        bool, typer.Option(help="Print the batch script and the resolved study; submit nothing.")
    ] = False,
    print_config: Annotated[bool, typer.Option(help="Print verl's whole configuration; train nothing.")] = False,
) -> None:
    """Train one method from its starting weights and export it as a Hugging Face folder.

    With --scheduler local or slurm the training is a job of its own: this command submits it, or attaches to it where
    it runs already, shows its progress and returns when it has ended. All files must be named, except with
    --print-config.
    """
    from mrsearch.config import read_study
    from mrsearch.training.launch import train_method

    files: dict[str, Any] = {"start": start, "questions": questions, "corpus": corpus, "indexes": indexes}
    files |= {"out": out, "log": log, "run": run, "run_dir": run_dir}
    names = {"study": study, "model": model, "method": method, "seed": str(seed)}
    if print_config:
        return verl_config.show(names, train_environment)
    if absent := [f"--{name.replace('_', '-')}" for name, path in files.items() if path is None]:
        raise ValueError(f"mrsearch train needs {', '.join(absent)}")
    files["endpoint"] = endpoint
    if scheduler is placement.Scheduler.here and not dry_run:
        return train_method(read_study(study), model, method, seed, log_file=files.pop("log"), **files)
    asked = {"threads": threads, "mem_mb": mem_mb, "runtime": runtime, "gpus": gpus, "nodes": nodes}
    placement.train_elsewhere(names, files, scheduler, site, asked, train_environment, dry_run)


def evaluate(
    study: options.Study,
    model: options.Model,
    method: options.Method,
    seed: options.Seed,
    policy: Annotated[Path, typer.Option(help="Hugging Face folder of the weights.")],
    questions: Annotated[Path, typer.Option(help="Folder of the benchmarks' parquet files.")],
    corpus: options.Corpus,
    indexes: options.Indexes,
    out: options.Out,
    cache: Annotated[
        Path, typer.Option(help="Folder of finished parts, from which an interrupted evaluation goes on.")
    ],
    endpoint: options.Endpoint = None,
) -> None:
    """Run one method on every benchmark under every decoding and record all meta-episodes."""
    from mrsearch.config import read_study
    from mrsearch.evaluation.run import evaluate as run_evaluation

    run_evaluation(
        read_study(study),
        model,
        method,
        seed,
        policy=policy,
        questions=questions,
        corpus=corpus,
        indexes=indexes,
        endpoint=endpoint,
        out=out,
        cache=cache,
    )
