"""What a study will need, estimated from its configuration alone: bytes on disk, in memory and on GPUs.

The figures are lower bounds with the largest parts in them, meant to refuse what cannot work, not to size a cluster.
"""

from __future__ import annotations

from pathlib import Path

from mrsearch.config import Study
from mrsearch.config.models import LanguageModel
from mrsearch.config.study import Resources
from mrsearch.retrieval import footprint

GIB = 2**30
WIKI_PASSAGES = 21_015_324
"""Passages of wiki-18 (December 2018, 100 words each)."""
PASSAGE_BYTES = 700
"""Title, text and offsets of one such passage."""
HUB_DIMENSIONS = 768
"""Width of the base-size encoders that published indexes were made with."""
WEIGHT_BYTES = 2
"""bfloat16."""
TRAINED_BYTES = 16
"""Per parameter in training: weights and gradients in bfloat16, master weights and both Adam moments in float32."""
CHECKPOINT_BYTES = 14
"""Per parameter in a checkpoint: what training holds but the gradients."""
TINY_BYTES = 12
"""Per parameter of a tiny model's checkpoint: float32 weights and moments."""


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
    return WIKI_PASSAGES * PASSAGE_BYTES if study.data.kind == "hub" else 0


def index_needs(study: Study, gpus: int = 0) -> footprint.Needs:
    """What the indexes of the study's searches take, served on so many GPUs; small corpora count nothing."""
    total = footprint.Needs(0, 0, 0, 0, 0)
    for name in study.indexed() if study.data.kind == "hub" else ():
        try:
            total += footprint.needs(study, name, WIKI_PASSAGES, gpus=gpus)
        except ValueError:  # the encoder is not here yet
            total += footprint.needs(study, name, WIKI_PASSAGES, HUB_DIMENSIONS, gpus)
    return total


def results_bytes(study: Study) -> float:
    """Checkpoints and exported models of every training, and the exports of all seeds."""
    trained = sum(method.train is not None for method in study.methods.values()) * len(study.seeds)
    total = 0.0
    for model in study.models.values():
        checkpoint = TINY_BYTES if model.kind == "tiny" else CHECKPOINT_BYTES
        each = (study.training.checkpoints_kept + 1) * checkpoint + 2 * WEIGHT_BYTES
        total += trained * each * parameters(model)
    return total


def resources_bytes(study: Study) -> float:
    """Downloads and indexes that studies share."""
    models = sum(WEIGHT_BYTES * parameters(model) for model in study.models.values() if model.kind == "hub")
    return models + corpus_bytes(study) + index_needs(study).disk


def gpu_bytes(study: Study, stage: str, resources: Resources) -> float:
    """Memory of each of a stage's GPUs, weights sharded over all of them; 0 where nothing is known."""
    gpus = resources.gpus * resources.nodes
    if not gpus:
        return 0
    largest = max(parameters(model) for model in study.models.values())
    if stage == "fine_tuning":
        return largest * TRAINED_BYTES / gpus
    if stage == "train":
        return largest * (TRAINED_BYTES / gpus + WEIGHT_BYTES / resources.gpus)
    if stage == "evaluate":
        return largest * WEIGHT_BYTES / gpus
    if stage == "retriever":
        return index_needs(study, gpus).gpu / gpus
    return 0


def memory_bytes(study: Study, stage: str, resources: Resources) -> float:
    """Main memory of one of a stage's nodes; 0 where nothing is known.

    Searching counts the part of an index that is read through the page cache: without it every search reads the disk.
    """
    largest = max(parameters(model) for model in study.models.values())
    served = study.retrieval.service.mode == "http"
    index = index_needs(study, resources.gpus if stage == "retriever" else 0)
    search = float(index.serve_memory + index.mapped)
    training = (0.0 if served else search) + (0.0 if resources.gpus else largest * TRAINED_BYTES)
    return {
        "retriever": search if served else 0.0,
        "index": float(index.build_memory),
        "fine_tuning": training if _fine_tunes(study) else 0.0,
        "train": training,
        "evaluate": (0.0 if served else search) + (0.0 if resources.gpus else 2 * largest * WEIGHT_BYTES),
    }.get(stage, 0.0)


def _fine_tunes(study: Study) -> bool:
    trained = (name for name, method in study.methods.items() if method.train)
    return any(study.training_stage(name) == "fine_tuning" for name in trained)
