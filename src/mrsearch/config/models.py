"""Language models a study trains or evaluates."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mrsearch.config.base import Commit, Model, PositiveFloat, PositiveInt, Repository, Seed


class TinyModel(Model):
    """A small Qwen2-architecture model made here from a config, with a tokenizer fitted on the study's own text."""

    kind: Literal["tiny"] = "tiny"
    """Marks this source."""
    tokenizer: Literal["word", "bpe"] = "word"
    """word: one token a white-space word (the synthetic world); bpe: byte-level BPE (real text)."""
    vocabulary: PositiveInt = 8192
    """Size of the bpe vocabulary."""
    hidden_size: PositiveInt = 128
    """Width of the residual stream."""
    layers: PositiveInt = 3
    """Transformer blocks."""
    heads: PositiveInt = 4
    """Attention heads."""
    kv_heads: PositiveInt = 4
    """Key-value heads."""
    intermediate_size: PositiveInt = 256
    """Width of the feed-forward block."""
    initializer_range: PositiveFloat = 0.05
    """Standard deviation of the initial weights."""
    tag_preference: PositiveFloat | None = None
    """Make the tags single tokens of a bpe vocabulary and scale their weights by this, so that an untrained model
    searches and answers now and then; null leaves the random weights as they are."""
    embedding_rows: PositiveInt | None = None
    """Rows of the embedding, unused ones behind the vocabulary's tokens: the size of a real vocabulary, where memory
    and time are rehearsed. Null has a row a token."""
    dtype: Literal["bfloat16"] | None = None
    """Precision of the saved weights; null is float32."""
    max_positions: PositiveInt = 2048
    """Longest sequence."""
    seed: Seed = 0
    """Seed of the initial weights."""

    @model_validator(mode="after")
    def _heads_divide(self) -> TinyModel:
        if self.hidden_size % self.heads or self.heads % self.kv_heads:
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must be a multiple of heads ({self.heads}), and heads of kv_heads "
                f"({self.kv_heads})"
            )
        return self


class HubModel(Model):
    """A published model, by row of the registry or by repository and pinned revision."""

    kind: Literal["hub"] = "hub"
    """Marks this source."""
    repository: Repository
    """Hugging Face repository."""
    revision: Commit
    """Pinned commit: 40 digits."""
    parameters: PositiveFloat
    """Billions of parameters, for memory estimates."""


class FolderModel(Model):
    """A Hugging Face folder on disk: what a study trained, or for instance a published Search-R1 or MR-Search
    checkpoint."""

    kind: Literal["folder"] = "folder"
    """Marks this source."""
    path: str
    """The folder. A model that a study trained (`results/<study>/models/<model>/<method>/seed<k>/model`) brings the
    protocol of its training from the run.json beside it: all keys that the study does not give, or none where the study
    gives `protocol.preset`."""


LanguageModel = Annotated[TinyModel | HubModel | FolderModel, Field(discriminator="kind")]
