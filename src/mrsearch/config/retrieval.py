"""Retrievers: an encoder or Lucene, an index, and how searches reach it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from mrsearch.config.base import Model, Name, NonNegativeInt, PositiveFloat, PositiveInt, check_commit, check_repository
from mrsearch.config.derived_retrievers import (
    EmptyRetriever,
    NoisyRetriever,
    RandomRetriever,
    RemoteRetriever,
    RerankedRetriever,
    WithheldRetriever,
)
from mrsearch.config.installed_retriever import InstalledRetriever
from mrsearch.extensions import RETRIEVERS


class Encoder(Model):
    """A sentence-transformers encoder."""

    kind: Literal["bow", "minilm", "folder", "hub"]
    """bow: inverse-document-frequency bag of words fitted on the corpus; minilm: all-MiniLM-L6-v2 from its Python
    package; folder: a local sentence-transformers or Hugging Face folder; hub: a pinned repository."""
    path: str | None = None
    """Folder (`folder`) or repository (`hub`)."""
    revision: str | None = None
    """Pinned revision of a `hub` encoder."""
    query_prefix: str = ""
    """Put before every query (E5: "query: ")."""
    passage_prefix: str = ""
    """Put before every passage (E5: "passage: ")."""
    max_tokens: PositiveInt = 256
    """Longer texts are cut."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Arithmetic of the encoder."""
    batch_size: PositiveInt = 64
    """Texts in one forward pass."""
    title_repeats: PositiveInt | None = None
    """How often the title stands before the text when a passage is encoded, so that passages about an entity win over
    passages that mention it; null is 3 for bow and 1 for the others."""

    @property
    def titles(self) -> int:
        """The resolved `title_repeats`."""
        return self.title_repeats or (3 if self.kind == "bow" else 1)

    @model_validator(mode="after")
    def _path_fits_kind(self) -> Encoder:
        if self.kind in ("folder", "hub") and not self.path:
            raise ValueError(f"encoder.path is missing: kind {self.kind} needs it")
        if self.kind == "hub" and not self.revision:
            raise ValueError("encoder.revision is missing: kind hub needs a pinned commit")
        if self.kind == "hub":
            check_repository(str(self.path))
            check_commit(str(self.revision))
        return self


class DenseRetriever(Model):
    """Inner-product search over passage embeddings."""

    indexed: ClassVar[bool] = True
    kind: Literal["dense"] = "dense"
    """Marks this retriever."""
    encoder: Encoder
    """Who turns text into vectors."""
    index: Literal["flat", "sq_fp16", "ivf_sq8", "hnsw", "pq_refine", "torch"] = "flat"
    """flat (float32) and sq_fp16 (float16) by FAISS and torch (matrix products, on GPUs where there are) are exact; the
    others approximate. All but flat, and torch with scan: float32, keep float16 vectors."""
    scan: Literal["half", "float32"] = "half"
    """Arithmetic of the torch index's first pass: half (bfloat16 on a CPU, float16 on GPUs; the best are scored again,
    so the result is the same) or float32, for CPUs without a fast half-precision type."""
    nlist: PositiveInt = 1024
    """Cells of ivf_sq8."""
    nprobe: PositiveInt = 64
    """Cells that ivf_sq8 visits per query."""
    ef_search: PositiveInt = 128
    """Candidates that hnsw keeps per query."""
    refine_factor: PositiveInt = 10
    """Candidates per hit that ivf_sq8, hnsw and pq_refine hand over to be scored again with float16 vectors."""
    shard_passages: PositiveInt = 100_000
    """Passages in one shard of the resumable build: what a killed build loses at most."""

    @property
    def members(self) -> tuple[str, ...]:
        """It searches no other retriever."""
        return ()


class LexicalRetriever(Model):
    """BM25 by Lucene."""

    indexed: ClassVar[bool] = True
    kind: Literal["lexical"] = "lexical"
    """Marks this retriever."""
    k1: PositiveFloat = 0.9
    """Saturation of term frequency."""
    b: float = Field(0.4, ge=0.0, le=1.0)
    """Strength of length normalisation."""

    @property
    def members(self) -> tuple[str, ...]:
        """It searches no other retriever."""
        return ()


class HybridRetriever(Model):
    """Reciprocal-rank fusion of two other retrievers of the study."""

    indexed: ClassVar[bool] = False
    kind: Literal["hybrid"] = "hybrid"
    """Marks this retriever."""
    of: tuple[Name, Name]
    """The two retrievers, by their names."""
    rrf_k: PositiveInt = 60
    """Constant of the fusion (Cormack et al. 2009)."""
    depth: PositiveInt = 100
    """How many hits of each list are fused."""

    @property
    def members(self) -> tuple[str, ...]:
        """The retrievers that it searches."""
        return self.of


def _by_kind(raw: Any) -> Any:
    """The tag of a retriever: its kind where it is built in; None where it has none."""
    kind = raw.get("kind") if isinstance(raw, dict) else getattr(raw, "kind", None)
    return kind if kind is None or kind in RETRIEVERS.built_in else INSTALLED


INSTALLED = "installed"
Retriever = Annotated[
    Annotated[DenseRetriever, Tag("dense")]
    | Annotated[LexicalRetriever, Tag("lexical")]
    | Annotated[HybridRetriever, Tag("hybrid")]
    | Annotated[RerankedRetriever, Tag("reranked")]
    | Annotated[RemoteRetriever, Tag("remote")]
    | Annotated[RandomRetriever, Tag("random")]
    | Annotated[EmptyRetriever, Tag("empty")]
    | Annotated[NoisyRetriever, Tag("noisy")]
    | Annotated[WithheldRetriever, Tag("withheld")]
    | Annotated[InstalledRetriever, Tag(INSTALLED)],
    Discriminator(
        _by_kind, custom_error_type="kind_missing", custom_error_message="kind is missing: it says what retriever it is"
    ),
]
WITHOUT_SERVER = ("remote", "random", "empty")
"""Kinds that the pipeline starts no server for: somebody else's, or nothing that a process could not do by itself."""


class Service(Model):
    """How searches reach the retriever, and how long it is kept."""

    mode: Literal["in_process", "http"] = "in_process"
    """in_process: every job opens the index itself (small indexes); http: one server that the DAG starts and stops."""
    host: str = "127.0.0.1"
    """Address the server binds. A server that the pipeline starts asks for a bearer token wherever it is bound."""
    port: int = Field(0, ge=0, le=65535)
    """0 takes a free port."""
    lease_seconds: PositiveFloat = 600.0
    """The server ends by itself after this long without a request and without its lease being renewed."""
    start_seconds: PositiveFloat = 600.0
    """How long to wait for the first healthy answer."""
    max_queue: PositiveInt = 8192
    """Queries that may wait. A request that would make them more, or more than one client's share, is answered with 503
    and Retry-After; clients are served in turn."""
    max_queries: PositiveInt = 4096
    """Most queries in one request; never more than `max_queue`."""
    max_hits: PositiveInt = 40_960
    """Most passages in one answer: queries times topk."""
    max_query_chars: PositiveInt = 4096
    """Longest query accepted."""
    max_topk: PositiveInt = 100
    """Largest topk accepted."""
    max_body_bytes: PositiveInt = 16_777_216
    """Largest request body accepted."""
    request_seconds: PositiveFloat = 30.0
    """Time in which a request must have come whole, and its answer must have been taken; slower connections are cut."""
    max_connections: PositiveInt = 2048
    """Connections held at once; beyond them the one that has been idle longest is cut."""
    cache_entries: NonNegativeInt = 100_000
    """Query results kept; 0 turns the cache off."""
    cache_bytes: NonNegativeInt = 268_435_456
    """Memory that query results may take; what was not asked for longest goes first."""


class Client(Model):
    """How a job talks to the retriever."""

    timeout_seconds: PositiveFloat = 30.0
    """Per request, from its connection to the last byte of its answer."""
    patience_seconds: PositiveFloat = 120.0
    """How long one search is retried before it counts as failed; none takes longer, whatever the server does."""
    max_passage_bytes: PositiveInt = 65_536
    """An answer may have so many bytes for each passage that was asked for; a longer one is not read to its end."""
    max_failure_rate: float = Field(0.01, ge=0.0, le=1.0)
    """Share of failed searches above which training or evaluation aborts."""


class Retrieval(Model):
    """The study's retrievers and the one that agents use."""

    use: Name
    """Name of the retriever that agents search with."""
    retrievers: dict[Name, Retriever]
    """Every retriever of the study, by name."""
    compared: tuple[Name, ...] = ()
    """Retrievers that a report sets side by side: how often an answer is found, recall against exact search, time per
    query. Their indexes are built too; empty makes no report."""
    topk: PositiveInt = 3
    """Passages per search."""
    service: Service = Service()
    """How searches reach the retriever."""
    client: Client = Client()
    """How a job talks to it."""
