"""Ranking anew by a cross-encoder (Nogueira and Cho, arXiv 1901.04085) through sentence-transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrsearch.agent.ports import Passage
from mrsearch.config.derived_retrievers import RerankedRetriever
from mrsearch.retrieval.indexes.passages import PassageStore
from mrsearch.retrieval.indexes.ranking import Ranking, Searcher

Scorer = Callable[[str, Sequence[Passage]], np.ndarray]
"""Gives a query's passages their scores, float [P], larger is better."""


class RerankedSearcher:
    """Scores the first `depth` passages of another searcher and keeps the best; equal scores keep its order."""

    def __init__(self, searcher: Searcher, store: PassageStore, score: Scorer, depth: int) -> None:
        self._searcher = searcher
        self._store = store
        self._score = score
        self._depth = depth

    def search(self, queries: list[str], topk: int) -> list[Ranking]:
        rankings = self._searcher.search(queries, max(topk, self._depth))
        return [self._ranked(query, ranking, topk) for query, ranking in zip(queries, rankings, strict=True)]

    def _ranked(self, query: str, ranking: Ranking, topk: int) -> Ranking:
        if not ranking.positions:
            return ranking
        scores = self._score(query, [self._store[position] for position in ranking.positions])
        best = np.argsort(-scores, kind="stable")[:topk]
        return Ranking([ranking.positions[n] for n in best], [float(scores[n]) for n in best])


def load_scorer(config: RerankedRetriever) -> Scorer:
    """The cross-encoder on a GPU where there is one. ValueError where its files are missing or are no cross-encoder of
    one score."""
    from sentence_transformers import CrossEncoder

    _check_folder(config)
    model: Any = CrossEncoder(
        config.path,
        revision=config.revision,
        max_length=config.max_tokens,
        trust_remote_code=False,
        local_files_only=config.revision is None,
        model_kwargs={"dtype": config.dtype},
    )
    architectures = model.config.architectures or [""]
    if not architectures[0].endswith("ForSequenceClassification") or model.config.num_labels != 1:
        raise ValueError(
            f"{config.path} is {architectures[0] or 'a model'} of {model.config.num_labels} labels: a reranker needs a "
            "cross-encoder that gives one score (ForSequenceClassification with 1 label)"
        )

    def score(query: str, passages: Sequence[Passage]) -> np.ndarray:
        pairs = [(_printable(query), _printable(f"{passage.title}\n{passage.text}")) for passage in passages]
        scores = model.predict(pairs, batch_size=config.batch_size, show_progress_bar=False, convert_to_numpy=True)
        scores = np.asarray(scores, dtype=np.float32)
        if not np.isfinite(scores).all():
            raise ValueError(f"the cross-encoder {config.path} gave a score that is no finite number")
        return scores

    return score


def _check_folder(config: RerankedRetriever) -> None:
    if config.revision is None and not (Path(config.path) / "config.json").is_file():
        raise ValueError(
            f"path ({config.path}) of the reranker is no folder of a model: it holds no config.json; a repository of "
            "the hub needs a revision"
        )


def _printable(text: str) -> str:
    """Without lone surrogates: tokenizers accept valid unicode only."""
    return text.encode("utf-8", "replace").decode("utf-8")
