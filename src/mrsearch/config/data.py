"""Where questions and passages come from."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mrsearch.config.base import Model, Name, PositiveInt, Seed, Share, SparseModel
from mrsearch.config.hops import Hops
from mrsearch.config.hub_rows import HubRow

VALIDATION = "validation"
"""The source by which a benchmark reads the training questions that `validation_share` holds out."""


class WorldData(Model):
    """The synthetic world: entities, relations and one-fact passages, made from a seed."""

    kind: Literal["world"] = "world"
    """Marks this source."""
    seed: Seed = 0
    """Seed of the world; independent of the training seeds."""
    train_entities: PositiveInt = 400
    """Persons that training questions ask about."""
    test_entities: PositiveInt = 400
    """Persons that benchmarks ask about; never seen in training."""
    values: PositiveInt = 40
    """Values of each attribute (cities, employers, prizes)."""
    keyword_probabilities: tuple[Share, Share, Share] = (0.5, 0.3, 0.2)
    """How often a fact is worded in each of its relation's three ways."""
    namesake_rate: float = Field(0.3, ge=0.0, le=1.0)
    """Share of persons that have a namesake."""
    popular_rate: float = Field(0.15, ge=0.0, le=1.0)
    """Share of persons whose facts are stated in every wording (several passages)."""
    distractor_rate: Share = 0.0
    """Share of facts, of persons who are not popular, that a passage contradicts: another value, in a wording that the
    fact does not have. Its title says rumour where others say an occupation. Facts of a smaller share are among those
    of a larger one; questions and all other passages are the same."""
    train_questions: PositiveInt = 4000
    """Rows of the training set."""
    questions_per_benchmark: PositiveInt = 100
    """Rows of each benchmark."""


class FolderData(Model):
    """Questions and a corpus that already lie in a folder, in FlashRAG's jsonl schema."""

    kind: Literal["folder"] = "folder"
    """Marks this source."""
    path: str
    """Folder that holds the files; relative paths start at the project's root."""
    corpus: str = "corpus.jsonl.gz"
    """Passages, {"id", "contents"} a line, below `path`."""
    questions: str = "questions/{benchmark}.dev.jsonl"
    """Questions of a benchmark, below `path`; field benchmark (its `source`)."""
    train: str | None = None
    """Training questions, below `path`; null has none, and nothing can be trained. Example: questions/train.jsonl."""
    validation_share: float | None = Field(None, gt=0.0, lt=1.0)
    """Share of the training questions that is held out of every training, by sha1 of the id; a benchmark with
    `source: validation` reads it. Example: 0.1."""
    drop_overlap: bool = False
    """Leave out training questions that a benchmark of the study asks as well."""
    support: str | None = None
    """Optional jsonl of the questions' own passages, {"benchmark", "id", ...} a line, with benchmark train for training
    questions; with `passages` it chooses which passages are kept."""
    passages: PositiveInt | None = None
    """Keep only this many passages (the questions' own first, then distractors by seed); null keeps all."""
    questions_per_benchmark: PositiveInt | None = None
    """Keep only the first this many questions (by sha1 of the id); null keeps all."""
    seed: Seed = 0
    """Seed of the choice of distractors."""

    @model_validator(mode="after")
    def _training_is_there(self) -> FolderData:
        for key in ("validation_share", "drop_overlap"):
            if self.train is None and getattr(self, key):
                raise ValueError(f"{key} ({getattr(self, key)}) is about training questions: name their file in train")
        return self


class HubData(Model):
    """Published data sets, by row of the registry or of the study (pinned revision, split, checksum)."""

    kind: Literal["hub"] = "hub"
    """Marks this source."""
    corpus: str = "wiki-18"
    """Row of the corpus."""
    train: str = "nq_hotpotqa"
    """Row of the training questions."""
    prebuilt_index: str | None = "wiki-18-e5"
    """Registry row of a prebuilt index, for exact float32 retrievers of its encoder; null builds one, and a corpus of
    the study's own rows has none."""
    rows: dict[Name, HubRow] = {}
    """Questions and passages beside those of the registry, by the names that corpus, train and the benchmarks' sources
    call them by."""
    questions_per_benchmark: PositiveInt | None = None
    """Keep only the first this many questions of each benchmark (by sha1 of the id); null keeps all."""
    validation_share: float | None = Field(None, gt=0.0, lt=1.0)
    """Share of the training questions that is held out of every training, by sha1 of the id; a benchmark with
    `source: validation` reads it. Example: 0.1."""
    drop_overlap: bool = False
    """Leave out training questions that a benchmark of the study asks as well; the papers keep them."""

    @model_validator(mode="before")
    @classmethod
    def _index_of_the_registry(cls, raw: Any) -> Any:
        declared = isinstance(raw, dict) and isinstance(raw.get("rows"), dict) and raw.get("corpus") in raw["rows"]
        return {"prebuilt_index": None, **raw} if declared else raw

    @model_validator(mode="after")
    def _rows_fit(self) -> HubData:
        if self.corpus in self.rows and self.prebuilt_index is not None:
            raise ValueError(
                f"prebuilt_index ({self.prebuilt_index}) holds vectors of another corpus than rows.{self.corpus}: set "
                "null, or leave it out"
            )
        if self.validation_share is not None and VALIDATION in self.rows:
            raise ValueError(f"rows.{VALIDATION} has the name of what validation_share holds out: choose another name")
        return self


Data = Annotated[WorldData | FolderData | HubData, Field(discriminator="kind")]


def holds_out(data: Data, source: str) -> bool:
    """Whether a benchmark that reads `source` asks the training questions that are held out for validation."""
    return data.kind != "world" and data.validation_share is not None and source == VALIDATION


class Benchmark(SparseModel):
    """One benchmark of a study."""

    idle_keys: ClassVar = ("hops",)
    source: Name | None = None
    """Name of the questions at the data source; null is the benchmark's own name."""
    label: str | None = None
    """How tables and figures call it; null is the benchmark's own name."""
    average: bool = True
    """Whether it counts in the unweighted mean ("Avg")."""
    yes_no_rule: bool = False
    """Score F1 by HotpotQA's rule: where either side is yes, no or noanswer, anything but equality is 0."""
    description: str = ""
    """What the benchmark probes, in a few words."""
    hops: Hops | None = None
    """Whether its questions need one fact or several, each found through another; null takes what is known of the
    synthetic world's and of the registry's questions."""
