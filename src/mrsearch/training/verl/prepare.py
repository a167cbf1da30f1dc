"""The files that a training with verl reads: questions, study, agent loop file, whole configuration."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import yaml

from mrsearch.config import Study, write_study
from mrsearch.files import atomic_file
from mrsearch.training.inputs import Inputs
from mrsearch.training.verl.recipe import TRAINER, Places

AGENT_LOOP = "mrsearch.training.verl.agent_loop.MetaEpisodeLoop"


def prepare(study: Study, method: str, seed: int, inputs: Inputs, run_dir: Path, ray: str | None) -> Places:
    """Write them below `run_dir` and say where they are; paths become absolute, because processes elsewhere read them.

    The validation questions are held out from the training questions by a fixed draw.
    """
    run_dir = run_dir.absolute()
    run_dir.mkdir(parents=True, exist_ok=True)
    places = Places.below(run_dir, inputs.start.absolute(), ray)
    write_study(study, Path(places.study))
    split_questions(inputs.questions, study, Path(places.train), Path(places.validation))
    entry: dict[str, Any] = {
        "name": TRAINER,
        "_target_": AGENT_LOOP,
        "study": places.study,
        "method": method,
        "seed": seed,
        "corpus": str(inputs.corpus.absolute()),
        "indexes": str(inputs.indexes.absolute()),
        "endpoint": str(inputs.endpoint.absolute()) if inputs.endpoint else None,
    }
    Path(places.agent_loops).write_text(yaml.safe_dump([entry], sort_keys=False), encoding="utf-8")
    return places


def split_questions(questions: Path, study: Study, train: Path, validation: Path) -> None:
    """Write training and validation questions; ValueError where too few are left for one step.

    Without validation, verl still wants a file: it gets the first question and never looks at it.
    """
    import pyarrow.parquet as parquet

    table = parquet.read_table(questions)
    count, needed = study.training.verl.validation_questions, study.training.questions_per_step
    if table.num_rows - count < needed:
        raise ValueError(
            f"training.questions_per_step ({needed}) and training.verl.validation_questions ({count}) need more than "
            f"the training set has ({table.num_rows} questions)"
        )
    held_out = sorted(random.Random("validation").sample(range(table.num_rows), count))
    rest = sorted(set(range(table.num_rows)) - set(held_out))
    for path, rows in ((train, rest), (validation, held_out or [0])):
        with atomic_file(path) as part:
            parquet.write_table(table.take(rows), part)
