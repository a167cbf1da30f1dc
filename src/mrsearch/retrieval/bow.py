"""A bag-of-words encoder for small corpora, fitted on their own words.

Weights are Robertson and Sparck Jones' inverse document frequency in the positive form that Lucene's BM25 uses,
ln(1 + (N - n + 1/2) / (n + 1/2)) for a word in n of N passages.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

WORD = re.compile(r"\w+")
MOST_WORDS = 20_000
"""Vectors are dense: beyond this a trained encoder or BM25 is the right tool."""


def words(text: str) -> list[str]:
    """Lower-case words of a text, in order."""
    return WORD.findall(text.lower())


def fit(passages: Iterable[tuple[str, str]]) -> Any:
    """A SentenceTransformer over the words of the (title, text) pairs; ValueError if there are too many or none."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import BoW, Normalize

    count, found = 0, Counter[str]()
    for title, text in passages:
        found.update(set(words(f"{title} {text}")))
        count += 1
        if len(found) > MOST_WORDS:
            raise ValueError(
                f"encoder.kind: bow is for small corpora, and this one has more than {MOST_WORDS} different words: "
                "use kind minilm, or a lexical retriever"
            )
    if not found:
        raise ValueError("encoder.kind: bow found no word in the corpus")
    weights = {word: math.log(1 + (count - n + 0.5) / (n + 0.5)) for word, n in found.items()}
    return SentenceTransformer(modules=[BoW(sorted(weights), weights), Normalize()], device="cpu")


def fingerprint(model: Any) -> str:
    """Hash of a fitted model's words and weights."""
    return hashlib.sha256(repr(list(zip(model[0].vocab, model[0].weights, strict=True))).encode()).hexdigest()
