"""What a study will need, estimated from its configuration alone: bytes on disk, in memory and on GPUs.

The figures are lower bounds with the largest parts in them, meant to refuse what cannot work, not to size a cluster.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mrsearch.config import Study
from mrsearch.config.lora import Lora
from mrsearch.config.models import LanguageModel
from mrsearch.config.resources import Resources
from mrsearch.planning import memory
from mrsearch.planning.shapes import Shape, shape_of
from mrsearch.planning.trainings import training_memory_of
from mrsearch.retrieval.indexes import footprint

GIB = 2**30
WIKI_PASSAGES = 21_015_324
"""Passages of wiki-18 (December 2018, 100 words each)."""
PASSAGE_BYTES = 700
"""Title, text and offsets of one such passage."""
HUB_DIMENSIONS = 768
"""Width of the base-size encoders that published indexes were made with."""
WEIGHT_BYTES = 2
"""bfloat16."""
CHECKPOINT_BYTES = 12
"""Per trained parameter in a checkpoint: itself and both moments in float32."""


def parameters(model: LanguageModel) -> float:
    """Parameters of a model; of a folder, estimated from the size of its weights."""
    if model.kind == "hub":
        return model.parameters * 1e9
    if model.kind == "folder":
        return sum(file.stat().st_size for file in Path(model.path).glob("*.safetensors")) / WEIGHT_BYTES
    block = 4 * model.hidden_size**2 + 3 * model.hidden_size * model.intermediate_size
    return model.vocabulary * model.hidden_size + model.layers * block


def corpus_bytes(study: Study) -> float:
    """Passages on disk."""
    return passages(study) * PASSAGE_BYTES


def passages(study: Study) -> int:
    """Passages of a published corpus; 0 where the study does not say how many its own has."""
    data = study.data
    if data.kind != "hub":
        return 0
    return data.rows[data.corpus].rows or 0 if data.corpus in data.rows else WIKI_PASSAGES


def index_needs(study: Study, gpus: int = 0) -> footprint.Needs:
    """What the indexes of the study's searches take, served on so many GPUs; small corpora count nothing."""
    total = footprint.Needs(0, 0, 0, 0, 0)
    count = passages(study)
    for name in study.indexed() if count else ():
        try:
            total += footprint.needs(study, name, count, gpus=gpus)
        except ValueError:  # the encoder is not here yet
            total += footprint.needs(study, name, count, HUB_DIMENSIONS, gpus)
    return total


def results_items(study: Study) -> dict[str, float]:
    """Bytes below `paths.results`, by item: checkpoints and exported models of every training, and the records."""
    methods = [name for name, method in study.methods.items() if method.train]
    items: dict[str, float] = {}
    for name, model in study.models.items():
        checkpoints = sum(
            (study.training_of(method).checkpoints_kept + 1) * _saved(study, method, model) for method in methods
        )
        items[f"checkpoints of {name}"] = len(study.seeds) * CHECKPOINT_BYTES * checkpoints
        items[f"trained models of {name}"] = len(methods) * len(study.seeds) * 2 * WEIGHT_BYTES * parameters(model)
    return {name: size for name, size in items.items() if size}


def _saved(study: Study, method: str, model: LanguageModel) -> float:
    """Parameters in a checkpoint of a method's training."""
    return _trained(model, study.training_of(method).lora if study.training_stage(method) == "train" else None)


def _trained(model: LanguageModel, lora: Lora | None) -> float:
    """Parameters that an optimizer moves."""
    return parameters(model) if lora is None else shape_of(model).trained(lora)


def _state_bytes(model: LanguageModel, lora: Lora | None) -> float:
    """Weights, and gradients and moments of those that are trained."""
    weights = memory.STATE["weights"]
    return weights * parameters(model) + (memory.STATE_BYTES - weights) * _trained(model, lora)


def resources_items(study: Study) -> dict[str, float]:
    """Bytes below `paths.resources`, by item: downloads and indexes that studies share."""
    items = {f"model {name}": WEIGHT_BYTES * parameters(m) for name, m in study.models.items() if m.kind == "hub"}
    items |= {"passages": corpus_bytes(study), "indexes": index_needs(study).disk}
    return {name: size for name, size in items.items() if size}


def gpu_bytes(study: Study, stage: str, resources: Resources) -> float:
    """Memory of each of a stage's GPUs at worst; 0 where nothing is known."""
    return sum(gpu_items(study, stage, resources).values())


def gpu_items(study: Study, stage: str, resources: Resources) -> dict[str, float]:
    """Memory of each of a stage's GPUs at worst, of the model and the method that take most, by item; empty where
    nothing is known.

    Training state is shared by all GPUs of the job, logits and activations are of one forward pass; a generation server
    must hold the weights and one meta-episode's keys and values in its share.
    """
    gpus = resources.gpus * resources.nodes
    if not gpus or stage not in study.active_stages():
        return {}
    if stage == "retriever":
        return {"vectors and search": index_needs(study, gpus).gpu / gpus}
    settings = [study.of(name) for name in study.methods]
    distinct = [view for number, view in enumerate(settings) if view not in settings[:number]]
    by_model = [
        items
        for view in distinct
        for model in view.models.values()
        for items in _model_items(view, stage, shape_of(model), gpus)
    ]
    return max(by_model, key=lambda items: sum(items.values()), default={})


def _model_items(study: Study, stage: str, shape: Shape, gpus: int) -> Iterator[dict[str, float]]:
    """What a stage's GPU holds at each of the times that may be its worst."""
    context, generator, verl = study.protocol.longest_sequence, study.evaluation.generator, study.training.verl
    if stage in ("train", "sft"):
        trained = training_memory_of(study, shape, stage, gpus)
        yield trained.update
        if trained.generation is not None:
            yield trained.generation
        elif stage == "train":
            yield memory.server_memory(shape, context, verl.tensor_parallel, verl.gpu_memory_utilization)
    if stage == "evaluate":
        yield memory.server_memory(shape, context, generator.tensor_parallel, generator.gpu_memory_utilization)


def listed(items: dict[str, float]) -> str:
    """Items with their GB, largest first."""
    return ", ".join(f"{name} {size / 1e9:.1f} GB" for name, size in sorted(items.items(), key=lambda item: -item[1]))


def memory_bytes(study: Study, stage: str, resources: Resources) -> float:
    """Main memory of one of a stage's nodes; 0 where nothing is known.

    Searching counts the part of an index that is read through the page cache: without it every search reads the disk.
    """
    if stage not in study.active_stages():
        return 0.0
    largest = max(parameters(model) for model in study.models.values())
    served = bool(study.served())
    index = index_needs(study, resources.gpus if stage == "retriever" else 0)
    search = 0.0 if served and stage != "retriever" else float(index.serve_memory + index.mapped)
    lora = study.training.lora if stage == "train" else None
    state = 0.0 if resources.gpus else max(_state_bytes(model, lora) for model in study.models.values())
    return {
        "retriever": search,
        "index": float(index.build_memory),
        "sft": search + state,
        "train": search + state,
        "evaluate": search + (0.0 if resources.gpus else 2 * largest * WEIGHT_BYTES),
    }.get(stage, 0.0)
