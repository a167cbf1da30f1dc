"""The registry: one row per download, with the revision, files, split and row count that a study relies on."""

from __future__ import annotations

import math
import re
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from mrsearch.config.base import Model, PositiveInt, Repository, Seed, check_commit
from mrsearch.config.choices import choices
from mrsearch.config.data import holds_out
from mrsearch.config.hub_rows import HubFile, PassageFields, QuestionFields, RowFormat
from mrsearch.config.retrieval import DenseRetriever
from mrsearch.config.source import read_yaml
from mrsearch.config.study import Study

REGISTRY = Path(__file__).with_name("registry.yaml")
TRAIN = "train"
BRANCH = "main"
"""What an unpinned row follows."""


class HeldOut(Model):
    """A test split that its authors drew from one file: the first part of a seeded permutation."""

    fraction: float = Field(gt=0.0, lt=1.0)
    """Share of the rows that are held out, rounded up."""
    seed: Seed
    """Seed of numpy's default generator, as the `datasets` library's train_test_split uses it."""
    of: PositiveInt
    """Rows of the whole file."""


class RegistryEntry(Model):
    """One download."""

    name: str
    """Name by which studies refer to it."""
    kind: Literal["questions", "corpus", "index", "model"]
    """What it is."""
    repository: Repository
    """Hugging Face repository."""
    revision: str | None = None
    """Pinned commit; null where no source states one."""
    files: tuple[HubFile, ...] | None = None
    """Files to fetch; null takes what the repository lists at the revision."""
    patterns: tuple[str, ...] = ("*",)
    """With files: null, the names to take."""
    split: Literal["train", "dev", "test"] | None = None
    """Split that the rows belong to."""
    rows: PositiveInt | None = None
    """Rows (questions, passages or vectors) that must be there."""
    held_out: HeldOut | None = None
    """How the split was drawn from the file; null takes every row of the file."""
    format: RowFormat | None = None
    """Format of the files of a row that a study declares; null in the registry."""
    fields: QuestionFields | PassageFields | None = None
    """Names of the fields of a row that a study declares; null in the registry, whose shapes are known."""
    encoder: str | None = None
    """RegistryEntry of the model that made an index's vectors."""
    licence: str | None = None
    """Licence as declared; null where none is."""
    source: str
    """Where these figures come from."""

    @field_validator("revision")
    @classmethod
    def _is_commit(cls, value: str | None) -> str | None:
        return None if value is None else check_commit(value)

    @model_validator(mode="after")
    def _rows_are_counted(self) -> RegistryEntry:
        counted = self.rows is not None or self.declared
        if self.kind == "questions" and not (counted and self.split is not None and self.files):
            raise ValueError("questions need files, split and rows: none may be left to chance")
        if self.held_out:
            total, held_out = self.held_out.of, self.held_out_rows
            expected = held_out if self.split != TRAIN else total - held_out
            if self.rows != expected:
                raise ValueError(
                    f"rows ({self.rows}) contradicts held_out, which leaves {expected} rows to {self.split}"
                )
        return self

    @property
    def declared(self) -> bool:
        """Whether a study declares the row."""
        return self.fields is not None

    @property
    def repo_type(self) -> Literal["dataset", "model"]:
        """The hub's word for where the repository lives."""
        return "model" if self.kind == "model" else "dataset"

    @property
    def held_out_rows(self) -> int:
        """Rows of the held-out part."""
        assert self.held_out is not None
        return math.ceil(self.held_out.of * self.held_out.fraction)

    @property
    def folder(self) -> str:
        """Name of the folder that its files lie in; it carries the revision. Rows of equal files share it."""
        where = "" if self.files is None else "-" + _slug("+".join(file.path for file in self.files))
        return f"{self.repository.replace('/', '--')}@{(self.revision or BRANCH)[:12]}{where}"


@cache
def registry(path: Path = REGISTRY) -> dict[str, RegistryEntry]:
    """All rows by name; ValueError names file, row and key that cannot be used."""
    raw = read_yaml(path)
    rows = {}
    for name, values in raw.items():
        try:
            rows[name] = RegistryEntry.model_validate({"name": name} | _inherited(raw, name, values))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(held_out) for held_out in (name, *first["loc"]))
            raise ValueError(f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}") from error
    return rows


def row(name: str, kind: str | None = None) -> RegistryEntry:
    """The row of that name; ValueError lists the known names where there is none (of that kind)."""
    rows = {key: value for key, value in registry().items() if kind in (None, value.kind)}
    if name not in rows:
        raise ValueError(f"{name!r} is no {kind or 'row'} of the registry: {choices(rows)}")
    return rows[name]


def study_row(study: Study, name: str, kind: str) -> RegistryEntry:
    """The row of that name, of those that the study declares or of the registry.

    ValueError lists the known names where there is none (of that kind), and names a declared row that the registry has
    too.
    """
    assert study.data.kind == "hub", study.data.kind
    declared = study.data.rows
    if clash := sorted(declared.keys() & registry().keys()):
        raise ValueError(f"data.rows.{clash[0]} has the name of a row of the registry: choose another name")
    if name not in declared or declared[name].kind != kind:
        try:
            return row(name, kind)
        except ValueError as error:
            added = sorted(key for key, value in declared.items() if value.kind == kind)
            raise ValueError(f"{error}; data.rows declares {', '.join(added) or f'no {kind}'}") from error
    source = declared[name]
    values = source.model_dump(exclude={"fields"}) | {"name": name, "format": source.read_as()}
    return RegistryEntry.model_validate({**values, "fields": source.fields, "source": f"study {study.name}"})


def questions_row(study: Study, dataset: str) -> RegistryEntry:
    """The row of a benchmark's questions or of "train", for a study of published data; a benchmark of held-out training
    questions has the row of "train".

    ValueError where the study trains on a test split or tests on a training split.
    """
    assert study.data.kind == "hub", study.data.kind
    source = None if dataset == TRAIN else study.benchmarks[dataset].source or dataset
    if source is None or holds_out(study.data, source):
        entry, where, dataset = study_row(study, study.data.train, "questions"), "data.train", TRAIN
    else:
        entry, where = study_row(study, source, "questions"), f"benchmarks.{dataset}"
    if (entry.split == TRAIN) != (dataset == TRAIN):
        raise ValueError(f"{where} ({entry.name}) is a {entry.split} split: it would mix training and testing")
    return entry


def prebuilt_index(study: Study, retriever: str) -> RegistryEntry | None:
    """The row of the published index that serves a retriever, or None: it must hold vectors of the same encoder."""
    config = study.retrieval.retrievers[retriever]
    if study.data.kind != "hub" or study.data.prebuilt_index is None or not isinstance(config, DenseRetriever):
        return None
    published = row(study.data.prebuilt_index, "index")
    if published.encoder is None:
        return None
    encoder = row(published.encoder, "model")
    matches = (config.encoder.path, config.encoder.revision) == (encoder.repository, encoder.revision)
    return published if matches else None


def encoder(study: Study, retriever: str) -> RegistryEntry | None:
    """The row of a retriever's published encoder; None where it is not registered, or not published at all."""
    config = study.retrieval.retrievers[retriever]
    if study.data.kind != "hub" or not isinstance(config, DenseRetriever) or config.encoder.kind != "hub":
        return None
    expected = (config.encoder.path, config.encoder.revision)
    return next((entry for entry in registry().values() if (entry.repository, entry.revision) == expected), None)


def downloads_of(study: Study) -> list[RegistryEntry]:
    """The rows of `rows_of` without policies, which have a rule of their own."""
    encoders = [encoder(study, retriever) for retriever in study.retrieval.retrievers]
    return [entry for entry in rows_of(study) if entry.kind != "model" or entry in encoders]


def rows_of(study: Study) -> list[RegistryEntry]:
    """Every row that a study of published data reads, each once; models and encoders by repository where registered."""
    if study.data.kind != "hub":
        return []
    trains = any(method.train for method in study.methods.values())
    entries = [questions_row(study, dataset) for dataset in [*([TRAIN] if trains else []), *study.benchmarks]]
    entries.append(study_row(study, study.data.corpus, "corpus"))
    if study.data.prebuilt_index is not None:
        entries.append(row(study.data.prebuilt_index, "index"))
    expected = {(model.repository, model.revision) for model in study.models.values() if model.kind == "hub"}
    for retriever in study.retrieval.retrievers.values():
        if isinstance(retriever, DenseRetriever) and retriever.encoder.kind == "hub":
            expected.add((str(retriever.encoder.path), str(retriever.encoder.revision)))
    entries += [entry for entry in registry().values() if (entry.repository, entry.revision) in expected]
    return list({entry.name: entry for entry in entries}.values())


def _inherited(raw: dict[str, Any], name: str, values: dict[str, Any]) -> dict[str, Any]:
    """The row's values, with the files of the row that it shares them with."""
    if "same_files_as" not in values:
        return values
    source = raw.get(values["same_files_as"])
    if not isinstance(source, dict) or "same_files_as" in source:
        raise ValueError(f"{name}.same_files_as ({values['same_files_as']!r}) is not a row that has files of its own")
    shared = {key: source[key] for key in ("repository", "revision", "files", "held_out", "licence") if key in source}
    return shared | {key: value for key, value in values.items() if key != "same_files_as"}


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", text)
