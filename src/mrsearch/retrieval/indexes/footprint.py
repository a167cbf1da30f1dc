"""What an index will need, before a job starts: disk, memory and GPU memory, from sizes alone."""

from __future__ import annotations

import importlib.util
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil

from mrsearch.config.retrieval import DenseRetriever, Encoder, LexicalRetriever
from mrsearch.config.study import GPU_INDEXES, Study
from mrsearch.retrieval.indexes import faiss_index
from mrsearch.retrieval.indexes.encoder import MINILM_PACKAGE
from mrsearch.retrieval.indexes.torch_index import search_buffers

PROCESS_BYTES = 1_500_000_000
"""Python, torch, a base-size encoder and one batch of passages."""
GPU_SCRATCH_BYTES = 2_000_000_000
"""Encoder and activations."""
JAVA_HEAP_BYTES = 4_000_000_000
CONTENTS_BYTES = 700
"""A passage of 100 words with its title."""
LUCENE_BYTES = 120
"""Lucene's postings per passage (measured: 5.5 MB for 50,000)."""
HNSW_LINK_BYTES = 300


@dataclass(frozen=True, slots=True)
class Needs:
    """Bytes that building and serving one retriever take."""

    disk: int
    """Index files, and what the build writes besides."""
    build_memory: int
    serve_memory: int
    """Resident in the server."""
    mapped: int
    """Read through the page cache: free memory of this size keeps searches fast, and nothing fails without it."""
    gpu: int
    """Over all GPUs of the server, if it has any; then serve_memory does not hold the vectors."""

    def __add__(self, other: Needs) -> Needs:
        build = max(self.build_memory, other.build_memory)  # one after the other
        serve, mapped, gpu = self.serve_memory + other.serve_memory, self.mapped + other.mapped, self.gpu + other.gpu
        return Needs(self.disk + other.disk, build, serve, mapped, gpu)


def needs(study: Study, retriever: str, passages: int, dim: int | None = None, gpus: int = 0) -> Needs:
    """What one retriever needs for so many passages.

    dim: numbers per vector, needed where the encoder is not on this machine; gpus: of the server.
    """
    config = study.retrieval.retrievers[retriever]
    if not isinstance(config, LexicalRetriever | DenseRetriever):  # nothing is known of an installed kind's own
        below = [needs(study, member, passages, dim, gpus) for member in config.members]
        return sum(below, Needs(0, 0, 0 if below else PROCESS_BYTES, 0, 0))
    if isinstance(config, LexicalRetriever):
        lucene, text = passages * LUCENE_BYTES, passages * CONTENTS_BYTES
        return Needs(lucene + text, JAVA_HEAP_BYTES, PROCESS_BYTES + JAVA_HEAP_BYTES, lucene, 0)
    return _dense(config, passages, dim or dimension(config.encoder), gpus)


def problems(estimate: Needs, folder: Path, gpus: int = 0) -> list[str]:
    """Why this machine cannot build and serve it, in words; empty if it can."""
    memory, free = psutil.virtual_memory().total, shutil.disk_usage(_existing(folder)).free
    messages = []
    if estimate.disk > free:
        messages.append(f"the index takes {_gb(estimate.disk)} of disk, {folder} has {_gb(free)} free")
    for work, size in (("building", estimate.build_memory), ("serving", estimate.serve_memory)):
        if size > memory:
            messages.append(f"{work} needs {_gb(size)} of memory, this machine has {_gb(memory)}")
    if gpus:
        import torch

        gpu_bytes = [torch.cuda.get_device_properties(n).total_memory for n in range(torch.cuda.device_count())][:gpus]
        if estimate.gpu > sum(gpu_bytes):
            total = _gb(sum(gpu_bytes))
            messages.append(f"serving needs {_gb(estimate.gpu)} of GPU memory, {len(gpu_bytes)} GPUs here have {total}")
    return messages


def describe(total: Needs) -> str:
    """One line for people."""
    return (
        f"disk {_gb(total.disk)}, memory {_gb(total.build_memory)} to build and {_gb(total.serve_memory)} to serve "
        f"(and {_gb(total.mapped)} of free memory as page cache), GPU memory {_gb(total.gpu)}"
    )


def dimension(encoder: Encoder) -> int:
    """Numbers per vector of an encoder whose files are on this machine; ValueError if they are not."""
    folder: Path | None = None
    if encoder.kind == "minilm" and (spec := importlib.util.find_spec(MINILM_PACKAGE)) and spec.origin:
        folder = Path(spec.origin).parent / "model"
    elif encoder.kind == "folder":
        folder = Path(encoder.path or "")
    if folder is None or not (folder / "config.json").is_file():
        raise ValueError(f"the dimension of encoder {encoder.path or encoder.kind} is unknown here: give it")
    return int(json.loads((folder / "config.json").read_text(encoding="utf-8"))["hidden_size"])


def _dense(config: DenseRetriever, passages: int, dim: int, gpus: int) -> Needs:
    full = config.index == "flat" or (config.index == "torch" and config.scan == "float32")
    vectors = passages * dim * (4 if full else 2)
    sample = min(passages, faiss_index.TRAINING_ROWS) * dim * 4
    structure = {
        "ivf_sq8": passages * (dim + 8),
        "hnsw": passages * (2 * dim + HNSW_LINK_BYTES),
        "pq_refine": passages * dim // 4,
    }.get(config.index, 0)
    halves = passages * dim * 2
    resident = vectors if config.index == "torch" and not full and not gpus else 0
    on_gpu = 0
    if gpus and config.index in GPU_INDEXES:
        buffers = GPU_SCRATCH_BYTES + search_buffers(-(-passages // gpus))
        on_gpu = (vectors if config.index == "torch" else halves) + gpus * buffers
    build = PROCESS_BYTES + (structure + sample if structure else 0)
    mapped = 0 if resident or (on_gpu and config.index == "torch") else vectors + structure
    return Needs(vectors + structure, build, PROCESS_BYTES + resident, mapped, on_gpu)


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.absolute().parent
    return folder


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
