"""A very small study over the synthetic world, what its evaluation reads, and the evaluation itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mrsearch.config import Study
from mrsearch.data.questions import read_passages, write_questions
from mrsearch.evaluation.folders import EvaluationInputs, MethodFolders
from mrsearch.evaluation.run import evaluate_methods
from mrsearch.policy.base_model import make_base
from mrsearch.retrieval.indexes.index import build_index
from mrsearch.retrieval.indexes.passages import build_store, corpus_texts
from support.small_world import TINY

CONTEXT_TOKENS = 200
STUDY = {
    "name": "tiny",
    "seeds": [0, 1],
    "protocol": {
        "prompts": {
            "search": "question {question}",
            "reflection": "reflect",
            "direct": "direct {question}",
            "cot": "direct {question}",
            "rag": "{information} direct {question}",
            "invalid_action": "nothing",
        },
        "passage_format": "( {title} ) {text} ",
        "observation_format": "<information> {passages} </information>",
        "max_observation_tokens": 20,
        "max_turn_tokens": 12,
        "max_context_tokens": CONTEXT_TOKENS,
        "append_question_mark": False,
    },
    "retrieval": {
        "use": "dense",
        "topk": 1,
        "retrievers": {"dense": {"kind": "dense", "encoder": {"kind": "bow"}}},
        "client": {"timeout_seconds": 0.2, "patience_seconds": 0.2},
    },
    "models": {"tiny": TINY},
    "methods": {
        "search_r1": {"policy": "base"},
        "sequential": {"policy": "base", "episodes": 3, "max_turns": 2},
        "rag": {"procedure": "rag"},
    },
    "benchmarks": {"single_hop": {}, "two_hop": {}},
    "evaluation": {"decoding": {"greedy": {}, "sampled": {"temperature": 1.0}}, "concurrency": 3},
}


def evaluated_study(questions: int, **sections: Any) -> Study:
    """The study with so many questions a benchmark; `sections` are added, or take the place of its own."""
    data = {"kind": "world", "train_entities": 40, "test_entities": 80, "questions_per_benchmark": questions}
    return Study.model_validate(STUDY | {"data": data} | sections)


def make_inputs(study: Study, folder: Path) -> Path:
    """Questions, passages, index and an untrained model in `folder`, made as the pipeline makes them."""
    for benchmark in study.benchmarks:
        write_questions(study, benchmark, folder / "data" / f"{benchmark}.parquet")
    build_store(read_passages(study), folder / "corpus")
    build_index(study, "dense", folder / "corpus", folder / "index" / "dense")
    make_base(study, "tiny", corpus_texts(folder / "corpus"), folder / "model")
    return folder


def evaluate(
    study: Study,
    model: str,
    method: str,
    seed: int,
    *,
    policy: Path,
    questions: Path,
    corpus: Path,
    indexes: Path,
    endpoint: Path | None,
    out: Path,
    cache: Path,
    limit: int | None = None,
) -> None:
    """`evaluate_methods` of one method; `policy` to `indexes` are its `EvaluationInputs`, `endpoint`, `out` and `cache`
    its `MethodFolders`."""
    inputs, folders = EvaluationInputs(policy, questions, corpus, indexes), MethodFolders(out, cache, endpoint)
    evaluate_methods(study, model, {method: folders}, seed, inputs, limit=limit)


def run_evaluation(
    study: Study,
    inputs: Path,
    out: Path,
    method: str = "sequential",
    seed: int = 0,
    endpoint: Path | None = None,
    limit: int | None = None,
) -> Path:
    """Evaluate the model of `inputs`; returns the folder of records. The cache lies beside it."""
    evaluate(
        study,
        "tiny",
        method,
        seed,
        policy=inputs / "model",
        questions=inputs / "data",
        corpus=inputs / "corpus",
        indexes=inputs / "index",
        endpoint=endpoint,
        out=out / "eval",
        cache=out / "cache",
        limit=limit,
    )
    return out / "eval"


def contents(folder: Path) -> dict[str, bytes]:
    """The files of records, by name."""
    return {path.name: path.read_bytes() for path in folder.glob("*.jsonl.zst")}
