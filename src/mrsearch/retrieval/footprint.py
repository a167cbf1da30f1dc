"""What an index will need, before a job starts: disk, memory and GPU memory, from sizes alone."""

from __future__ import annotations

import importlib.util
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil

from mrsearch.config.retrieval import DenseRetriever, Encoder, HybridRetriever, LexicalRetriever
from mrsearch.config.study import Study
from mrsearch.retrieval import faiss_index
from mrsearch.retrieval.encoder import MINILM_PACKAGE

PROCESS_BYTES = 1_500_000_000
"""Python, torch, a base-size encoder and one batch of passages."""
GPU_SCRATCH_BYTES = 2_000_000_000
"""Encoder, activations and score matrices."""
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
    if isinstance(config, HybridRetriever):
        first, second = (needs(study, part, passages, dim, gpus) for part in config.of)
        return first + second
    if isinstance(config, LexicalRetriever):
        lucene, text = passages * LUCENE_BYTES, passages * CONTENTS_BYTES
        return Needs(lucene + text, JAVA_HEAP_BYTES, PROCESS_BYTES + JAVA_HEAP_BYTES, lucene, 0)
    return _dense(config, passages, dim or dimension(config.encoder), gpus)


def problems(wanted: Needs, folder: Path, gpus: int = 0) -> list[str]:
    """Why this machine cannot build and serve it, in words; empty if it can."""
    memory, free = psutil.virtual_memory().total, shutil.disk_usage(_existing(folder)).free
    found = []
    if wanted.disk > free:
        found.append(f"the index needs {_gb(wanted.disk)} of disk, {folder} has {_gb(free)} free")
    for what, size in (("building", wanted.build_memory), ("serving", wanted.serve_memory)):
        if size > memory:
            found.append(f"{what} needs {_gb(size)} of memory, this machine has {_gb(memory)}")
    if gpus:
        import torch

        there = [torch.cuda.get_device_properties(n).total_memory for n in range(torch.cuda.device_count())][:gpus]
        if wanted.gpu > sum(there):
            found.append(
                f"serving needs {_gb(wanted.gpu)} of GPU memory, {len(there)} GPUs here have {_gb(sum(there))}"
            )
    return found


def describe(wanted: Needs) -> str:
    """One line for people."""
    return (
        f"disk {_gb(wanted.disk)}, memory {_gb(wanted.build_memory)} to build and {_gb(wanted.serve_memory)} to serve "
        f"(and {_gb(wanted.mapped)} of free memory as page cache), GPU memory {_gb(wanted.gpu)}"
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
    own = {
        "ivf_sq8": passages * (dim + 8),
        "hnsw": passages * (2 * dim + HNSW_LINK_BYTES),
        "pq_refine": passages * dim // 4,
    }.get(config.index, 0)
    resident = vectors if config.index == "torch" and not full and not gpus else 0
    on_gpu = vectors + gpus * GPU_SCRATCH_BYTES if config.index == "torch" and gpus else 0
    build = PROCESS_BYTES + (own + sample if own else 0)
    mapped = 0 if resident or on_gpu else vectors + own
    return Needs(vectors + own, build, PROCESS_BYTES + resident, mapped, on_gpu)


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.absolute().parent
    return folder


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
