"""The study that is rehearsed: another study's shapes, budgets and jobs, on the synthetic world with random weights."""

from __future__ import annotations

import math
from typing import Any

from mrsearch.config import Study
from mrsearch.config.models import LanguageModel, TinyModel
from mrsearch.planning.shapes import Shape, shape_of

STEPS = 3
"""Training steps: one before the checkpoint that is resumed from, at least one after it."""
QUESTIONS = 64
"""Questions that are evaluated."""
BENCHMARKS = ("single_hop", "two_hop")
TAG_PREFERENCE = 3.0
"""Makes random weights search and answer now and then."""


def rehearsed(study: Study, model: str | None = None, batch: int = 64) -> Study:
    """The rehearsal of `study` with one of its models, by default the largest, and at most `batch` questions a step.

    Its method is the trained one with the most episodes, else the one with the most; training starts from random
    weights of the model's shape, on one node. ValueError where the study has no such model.
    """
    name = model or max(study.models, key=lambda candidate: shape_of(study.models[candidate]).parameters)
    if name not in study.models:
        raise ValueError(f"--model ({name!r}) is not a model of {study.name}: known are {', '.join(study.models)}")
    method = rehearsed_method(study)
    study = study.of(method)
    raw: dict[str, Any] = study.model_dump(mode="json")
    raw |= {"name": f"{study.name}-rehearsal", "seeds": [study.seeds[0]], "data": _data(study)}
    raw["models"] = {name: _model(study, study.models[name])}
    raw["methods"] = {method: _method(raw["methods"][method])}
    raw["benchmarks"] = {benchmark: {} for benchmark in BENCHMARKS}
    raw["retrieval"] |= _retrieval(study)
    raw["training"] |= _training(study, batch)
    raw["resources"]["train"] |= {"nodes": 1}
    decoding = study.report.decoding
    raw["evaluation"]["decoding"] = {decoding: raw["evaluation"]["decoding"][decoding]}
    raw["report"] |= {"baseline": method, "scaling": False, "tables": {}, "experiment": None}
    return Study.model_validate(raw)


def rehearsed_method(study: Study) -> str:
    """The method that shows most of what the study does."""
    trained = {name: m for name, m in study.methods.items() if m.train and m.train.algorithm != "sft"}
    methods = trained or {name: m for name, m in study.methods.items() if m.procedure == "meta_episode"}
    methods = methods or dict(study.methods)
    return max(methods, key=lambda name: methods[name].episodes)


def _data(study: Study) -> dict[str, Any]:
    count = max(600, study.training.train_batch_size + study.training.verl.validation_questions)
    sizes = {"train_entities": 120, "test_entities": 120, "train_questions": count}
    return {"kind": "world", "seed": 7, **sizes, "questions_per_benchmark": QUESTIONS // len(BENCHMARKS)}


def _model(study: Study, model: LanguageModel) -> dict[str, Any]:
    """A model of the tiny kind as it is; of any other, random weights of the same shape."""
    if isinstance(model, TinyModel):
        word = model.tokenizer == "word" and study.data.kind != "world"
        return model.model_dump(mode="json") | ({"tokenizer": "bpe"} if word else {})
    shape = shape_of(model)
    return {"kind": "tiny", "tokenizer": "bpe", "vocabulary": 2048, "tag_preference": TAG_PREFERENCE} | _sizes(
        shape, study.protocol.max_context_tokens
    )


def _sizes(shape: Shape, context: int) -> dict[str, Any]:
    """Keys of a tiny model for a shape; heads of another width than hidden size over heads are not expressed."""
    return {
        "hidden_size": shape.hidden,
        "layers": shape.layers,
        "heads": shape.heads if shape.hidden % shape.heads == 0 else shape.hidden // shape.head,
        "kv_heads": shape.kv_heads,
        "intermediate_size": shape.intermediate,
        "embedding_rows": shape.vocabulary,
        "initializer_range": 0.05,
        "dtype": "bfloat16",
        "max_positions": context + 1,
    }


def _method(raw: dict[str, Any]) -> dict[str, Any]:
    if raw["train"]:
        raw["train"] |= {"start": "base"}
    return raw | {"policy": None if raw["train"] else "base", "compare_with": None, "intervention": None}


def _retrieval(study: Study) -> dict[str, Any]:
    """The retriever in use, and those that it searches, with an encoder that needs no download."""
    names = study.reached(study.retrieval.use)
    retrievers = {name: study.retrieval.retrievers[name].model_dump(mode="json") for name in names}
    for retriever in retrievers.values():
        if retriever["kind"] == "dense" and retriever["encoder"]["kind"] == "hub":
            retriever["encoder"] = {"kind": "bow"}
    return {"retrievers": retrievers, "compared": []}


def _training(study: Study, batch: int) -> dict[str, Any]:
    training = study.training
    size = min(training.train_batch_size, batch)
    mini = min(training.mini_batch_size, max(1, size // 2))
    verl = training.verl.model_dump(mode="json")
    verl |= {"validation_questions": 0, "keep_best": False, "export": "last"}
    mini = mini if size % mini == 0 else size
    resources = study.resources.train
    ranks = (resources.gpus * resources.nodes or verl["cpu_ranks"]) // verl["sequence_parallel"]
    # The few sequences of a small mini-batch are divided too, by as large a part as they allow.
    of_rank = max(1, mini * training.group_size // ranks)
    if not verl["use_dynamic_bsz"]:
        verl["micro_batch_size_per_gpu"] = math.gcd(verl["micro_batch_size_per_gpu"], of_rank)
    return {
        "steps": STEPS,
        "token_budget": None,
        "checkpoint_every": 1,
        "train_batch_size": size,
        "mini_batch_size": mini,
        "verl": verl,
        "local": training.local.model_dump(mode="json") | {"validation_questions": 0, "export": "last"},
    }
