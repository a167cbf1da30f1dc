"""A training as a value, over the files of one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mrsearch.config import Study
from mrsearch.training.run import Inputs, Outputs, TrainingRun


def inputs_of(shared: Path, **other: Any) -> Inputs:
    """What a training reads, below the folder `shared`, but for the fields that are given."""
    files = {"start": shared / "base", "questions": shared / "train.parquet", "corpus": shared / "corpus"}
    return Inputs(**{**files, "indexes": shared / "index", **other})


def training_run(
    study: Study, model: str, method: str, seed: int, shared: Path, out: Path, folder: Path | None = None, **other: Any
) -> TrainingRun:
    """Training `method` from the files below `shared` into those below `out`; checkpoints lie in `folder`, or in
    `out`'s folder of runs."""
    outputs = Outputs(out / "model", out / "train.jsonl", out / "run.json")
    return TrainingRun(study, model, method, seed, inputs_of(shared, **other), outputs, folder or out / "runs")
