"""What each kind of retriever does with a study's passages: how its index is built and how it is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from mrsearch.config.derived_retrievers import (
    NoisyRetriever,
    RandomRetriever,
    RerankedRetriever,
    WithheldRetriever,
)
from mrsearch.config.installed import settings_of
from mrsearch.config.installed_retriever import InstalledRetriever
from mrsearch.config.retrieval import DenseRetriever, HybridRetriever, LexicalRetriever, Retriever
from mrsearch.extensions import RETRIEVERS
from mrsearch.retrieval.indexes.control import (
    EmptySearcher,
    NoisySearcher,
    RandomSearcher,
    WithholdingSearcher,
    withheld_positions,
)
from mrsearch.retrieval.indexes.passages import PassageStore
from mrsearch.retrieval.indexes.ranking import Searcher


@dataclass(frozen=True, slots=True)
class RetrieverInputs:
    """What a retriever works with."""

    name: str
    """Its name in the study."""
    settings: Any
    """What the study says of it, validated."""
    passages: PassageStore
    """The study's passages, by position."""
    folder: Path
    """Its index; while that is built, the folder to write it into."""
    members: Sequence[Searcher] = ()
    """The retrievers that it searches, in the order in which its settings name them."""
    encoder: Path | None = None
    """Folder of a published encoder's verified files, for a build."""
    hashes: dict[str, str | None] = field(default_factory=dict)
    """sha256 of files that a build hashed while it wrote them, by name in `folder`; all others are read again."""


class RetrieverKind(Protocol):
    """One kind of retriever, as entry points of the group `mrsearch.retrievers` name it.

    An installed one may have a pydantic model `Settings`, and says by `indexed = True` that it has an index of its own.
    """

    def build(self, inputs: RetrieverInputs) -> dict[str, object]:
        """Write the index into `inputs.folder`, which may hold what a killed build left; returns facts for
        `index.json`. Only kinds with an index of their own are asked."""
        ...

    def open(self, inputs: RetrieverInputs) -> Searcher:
        """The searcher; ValueError where index, passages and settings do not fit together."""
        ...


class _WithoutIndex:
    def build(self, inputs: RetrieverInputs) -> dict[str, object]:
        raise AssertionError(f"{inputs.name} has no index of its own")


class Dense:
    """Vectors of an encoder."""

    def build(self, inputs: RetrieverInputs) -> dict[str, object]:
        from mrsearch.retrieval.indexes import dense

        config: DenseRetriever = inputs.settings
        facts, hashes = dense.build_dense(config, inputs.passages, inputs.folder, inputs.encoder)
        inputs.hashes.update(hashes)
        return facts

    def open(self, inputs: RetrieverInputs) -> Searcher:
        from mrsearch.retrieval.indexes import dense

        config: DenseRetriever = inputs.settings
        return dense.open_dense(inputs.name, config, inputs.passages, inputs.folder)


class Lexical:
    """BM25."""

    def build(self, inputs: RetrieverInputs) -> dict[str, object]:
        from mrsearch.retrieval.indexes import lexical

        return lexical.build_lexical(inputs.passages, inputs.folder)

    def open(self, inputs: RetrieverInputs) -> Searcher:
        from mrsearch.retrieval.indexes import lexical

        config: LexicalRetriever = inputs.settings
        return lexical.open_lexical(inputs.name, config, inputs.passages, inputs.folder)


class Hybrid(_WithoutIndex):
    """Fusion of two rankings."""

    def open(self, inputs: RetrieverInputs) -> Searcher:
        from mrsearch.retrieval.indexes.fusion import FusedSearcher

        config: HybridRetriever = inputs.settings
        return FusedSearcher(inputs.members, config.rrf_k, config.depth)


class Reranked(_WithoutIndex):
    """A cross-encoder's order."""

    def open(self, inputs: RetrieverInputs) -> Searcher:
        from mrsearch.retrieval.indexes.reranking import RerankedSearcher, load_scorer

        config: RerankedRetriever = inputs.settings
        (member,) = inputs.members
        return RerankedSearcher(member, inputs.passages, load_scorer(config), config.depth)


class Remote(_WithoutIndex):
    """A server of somebody else's, which no process of the study opens."""

    def open(self, inputs: RetrieverInputs) -> Searcher:
        raise ValueError(
            f"retrieval.retrievers.{inputs.name} is a server of somebody else's ({inputs.settings.url}): there is no "
            "index to open or to serve"
        )


class Random(_WithoutIndex):
    """Chance."""

    def open(self, inputs: RetrieverInputs) -> Searcher:
        config: RandomRetriever = inputs.settings
        return RandomSearcher(len(inputs.passages), config.seed)


class Empty(_WithoutIndex):
    """Nothing."""

    def open(self, inputs: RetrieverInputs) -> Searcher:
        return EmptySearcher()


class Noisy(_WithoutIndex):
    """Noise over another retriever."""

    def open(self, inputs: RetrieverInputs) -> Searcher:
        config: NoisyRetriever = inputs.settings
        (member,) = inputs.members
        return NoisySearcher(member, len(inputs.passages), config.share, config.seed)


class Withheld(_WithoutIndex):
    """Another retriever without some passages."""

    def open(self, inputs: RetrieverInputs) -> Searcher:
        config: WithheldRetriever = inputs.settings
        (member,) = inputs.members
        withheld = withheld_positions(inputs.passages, config.title_word, config.share, config.seed)
        return WithholdingSearcher(member, withheld)


def kind_of(config: Retriever) -> RetrieverKind:
    """What a retriever's kind does, whoever adds it."""
    kind: RetrieverKind = RETRIEVERS.load(config.kind)
    return kind


def validated_settings(config: Retriever) -> Any:
    """A retriever's settings: of an installed kind, by its own model."""
    if isinstance(config, InstalledRetriever):
        return settings_of(RETRIEVERS, config.kind, config.settings)
    return config
