"""A very small study that has run in this process: its files lie where the pipeline puts them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import yaml

from mrsearch.config import Run, Study, write_study
from mrsearch.config.layout import Layout
from mrsearch.config.run import Paths
from mrsearch.data.questions import read_passages, write_questions
from mrsearch.evaluation.metrics import write_metrics
from mrsearch.policy.base_model import make_base
from mrsearch.retrieval.indexes.index import build_index
from mrsearch.retrieval.indexes.passages import build_store, corpus_texts
from mrsearch.training.launch import train_method
from mrsearch.training.run import Inputs, Outputs, TrainingRun
from support.evaluations import evaluate
from support.project import ROOT

FILE = ROOT / "tests" / "e2e" / "tiny.yaml"
CHANGES: dict[str, Any] = {
    "name": "demo",
    "seeds": [0],
    "methods": {
        "warm_start": {"label": "Warm start", "train": {"algorithm": "sft"}},
        "mr_search": {"label": "MR-Search", "policy": "warm_start", "episodes": 2},
        "search_r1": {"label": "Search-R1", "policy": "warm_start"},
    },
    "retrieval": {
        "use": "dense",
        "topk": 1,
        "retrievers": {"dense": {"kind": "dense", "encoder": {"kind": "bow"}}},
    },
    "report": {},
    "warm_start": {
        "steps": 40,
        "train_batch_size": 8,
        "warmup_steps": 2,
        "learning_rate": 2e-2,
        "demonstrations": 32,
        "checkpoint_every": 40,
    },
}
"""What makes the workflow's very small study a still smaller one, whose agent has learnt to search and to answer."""


def finished_study(root: Path, **sections: Any) -> tuple[Study, Layout]:
    """A study with passages, indexes, questions and trained weights below `root`/results. sections: of the study, in
    place of its own."""
    raw = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    study = Study.model_validate(raw | CHANGES | sections)
    paths = Paths(results=str(root / "results"), resources=str(root / "results" / "resources"))
    layout = Layout(Run(paths=paths), study)
    train_study(study, layout)
    return study, layout


def train_study(study: Study, layout: Layout) -> None:
    """Write the study's passages, indexes, questions and base model, and train its methods in their order, for each
    seed."""
    write_study(study, layout.study)
    build_store(read_passages(study), layout.corpus)
    for retriever in study.indexed():
        build_index(study, retriever, layout.corpus, layout.index(retriever))
    make_base(study, "tiny", corpus_texts(layout.corpus), layout.base("tiny"))
    for dataset in ("train", *study.benchmarks):
        write_questions(study, dataset, layout.questions(dataset))
    for seed, method in itertools.product(study.seeds, study.methods):
        if study.methods[method].train is not None:
            train(study, layout, method, seed)


def train(study: Study, layout: Layout, method: str, seed: int) -> None:
    """Train a method in this process."""
    place = ("tiny", method, seed)
    inputs = Inputs(layout.start(*place), layout.questions("train"), layout.corpus, layout.indexes, None)
    outputs = Outputs(layout.model(*place), layout.train_log(*place), layout.training_record(*place))
    train_method(TrainingRun(study, *place, inputs, outputs, layout.scratch(*place)))


def evaluate_study(study: Study, layout: Layout) -> None:
    """Records of every method, then scores and metrics."""
    for seed, method in itertools.product(study.seeds, study.methods):
        place = ("tiny", method, seed)
        evaluate(
            study,
            *place,
            policy=layout.policy(*place),
            questions=layout.questions_folder,
            corpus=layout.corpus,
            indexes=layout.indexes,
            endpoint=None,
            out=layout.records(*place),
            cache=layout.cache(*place),
        )
    write_metrics(study, layout.evaluations, layout.scores, layout.metrics)
