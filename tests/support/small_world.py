"""A very small world with a tiny model, and the files that its trainings read."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from mrsearch.config import Run, load_study
from mrsearch.data.questions import write_questions
from mrsearch.data.world import World
from mrsearch.policy.base_model import make_base
from mrsearch.retrieval.indexes.index import build_index
from mrsearch.retrieval.indexes.passages import build_store, corpus_texts
from support.project import ROOT

TINY = {"kind": "tiny", "hidden_size": 32, "layers": 2, "heads": 2, "kv_heads": 2, "intermediate_size": 48}
"""Settings of a model that trains in a second."""
OVERRIDES: dict[str, Any] = {
    "data.train_entities": 60,
    "data.test_entities": 60,
    "data.train_questions": 200,
    "data.questions_per_benchmark": 4,
    "training.token_budget": None,
    "training.train_batch_size": 4,
    "training.mini_batch_size": 2,
    "training.group_size": 3,
    "training.checkpoint_every": 2,
    "models.tiny": TINY,
}
"""What makes the study demo a very small one."""


def make_shared(folder: Path, overrides: dict[str, Any] = OVERRIDES) -> Path:
    """Corpus, index, training questions and an untrained model, as the pipeline makes them."""
    study = load_study(Run(study="demo", overrides=overrides), ROOT)
    build_store(World(study.data).passages(), folder / "corpus")
    build_index(study, "dense", folder / "corpus", folder / "index" / "dense")
    write_questions(study, "train", folder / "train.parquet")
    make_base(study, "tiny", corpus_texts(folder / "corpus"), folder / "base")
    return folder


if __name__ == "__main__":
    make_shared(Path(sys.argv[2]), json.loads(sys.argv[1]))
