"""A bag-of-words encoder for small corpora, fitted on their own words.

Weights are Robertson and Sparck Jones' inverse document frequency in the positive form that Lucene's BM25 uses,
ln(1 + (N - n + 1/2) / (n + 1/2)) for a word in n of N passages.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrsearch.files import read_json, write_text

WORD = re.compile(r"\w+")
MOST_WORDS = 20_000
"""Vectors are dense: beyond this a trained encoder or BM25 is the right tool."""
FILE = "bow.json"


def words(text: str) -> list[str]:
    """Lower-case words of a text, in order."""
    return WORD.findall(text.lower())


class BagOfWords:
    """Words with their weights, and texts as sums of them; has the methods of a sentence-transformers model that
    `TextEncoder` asks for, without the library's seconds of import."""

    def __init__(self, weights: dict[str, float]) -> None:
        """weights: by word; vectors have a number per word, in the order of the words."""
        self.weights = dict(sorted(weights.items()))
        self._positions = {word: position for position, word in enumerate(self.weights)}
        self._values = np.array(list(self.weights.values()), dtype=np.float32)

    def get_embedding_dimension(self) -> int:
        """Number of words."""
        return len(self.weights)

    def encode(self, texts: Sequence[str], **_: Any) -> np.ndarray:
        """float32 [T, D]: the weights of each text's words, as often as they occur; rows of length 1, or 0 where the
        text has no known word."""
        from torch import from_numpy
        from torch.nn.functional import normalize

        vectors = np.zeros((len(texts), len(self.weights)), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in words(text):
                if (position := self._positions.get(word)) is not None:
                    row[position] += self._values[position]
        unit: np.ndarray = normalize(from_numpy(vectors), dim=1).numpy()
        return unit

    def save(self, folder: str, **_: Any) -> None:
        """Write words and weights to a file of the folder; equal models are equal bytes."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_text(Path(folder) / FILE, json.dumps({"weights": self.weights}, ensure_ascii=False, indent=1) + "\n")


def fit(passages: Iterable[tuple[str, str]]) -> BagOfWords:
    """The words of the (title, text) pairs; ValueError if there are too many or none."""
    count, passages_of = 0, Counter[str]()
    for title, text in passages:
        passages_of.update(set(words(f"{title} {text}")))
        count += 1
        if len(passages_of) > MOST_WORDS:
            raise ValueError(
                f"encoder.kind: bow is for small corpora, and this one has more than {MOST_WORDS} different words: "
                "use kind minilm, or a lexical retriever"
            )
    if not passages_of:
        raise ValueError("encoder.kind: bow found no word in the corpus")
    return BagOfWords({word: math.log(1 + (count - n + 0.5) / (n + 0.5)) for word, n in passages_of.items()})


def load(folder: Path) -> BagOfWords:
    """The model that `save` wrote; ValueError where the folder holds none."""
    weights = (read_json(folder / FILE) or {}).get("weights")
    numbers = isinstance(weights, dict) and all(isinstance(w, float) and math.isfinite(w) for w in weights.values())
    if not numbers or not weights:
        raise ValueError(f"{folder}: holds no {FILE} with words and weights: build the index again")
    return BagOfWords(weights)


def fingerprint(model: BagOfWords) -> str:
    """Hash of a fitted model's words and weights."""
    return hashlib.sha256(repr(list(model.weights.items())).encode()).hexdigest()
