"""Rows that a study adds to the registry of downloads: questions and passages of any repository of the hub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from mrsearch.config.base import Commit, Model, PositiveInt, Repository

LONGEST_PATH = 500
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PATH = re.compile(r"[^/\x00-\x1f\x7f\\]+(/[^/\x00-\x1f\x7f\\]+)*")
RowFormat = Literal["jsonl", "json", "parquet", "csv", "tsv"]
"""Formats of files of rows: jsonl may be gzipped, json is one list of objects, csv and tsv begin with their header."""
ENDINGS: dict[str, RowFormat] = {
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
}


def _refuse_doubled(names: Sequence[str | None]) -> None:
    for name in names:
        if name is not None and names.count(name) > 1:
            raise ValueError(f"{name!r} stands there {names.count(name)} times: each needs a name of its own")


class HubFile(Model):
    """One file of a repository."""

    path: str
    """Path inside the repository."""
    bytes: PositiveInt | None = None
    """Size; null where no source states it."""
    sha256: str | None = None
    """Checksum; null where no source states it."""

    @field_validator("path")
    @classmethod
    def _inside(cls, path: str) -> str:
        if not _PATH.fullmatch(path) or {".", ".."} & set(path.split("/")) or len(path) > LONGEST_PATH:
            raise ValueError(f"{path[:LONGEST_PATH]!r} is not a path inside a repository")
        return path

    @field_validator("sha256")
    @classmethod
    def _is_sha256(cls, value: str | None) -> str | None:
        if value is not None and not _SHA256.fullmatch(value):
            raise ValueError(f"{value!r} is not a sha256: 64 digits 0-9a-f")
        return value


class QuestionFields(Model):
    """Where a row of questions has what; dots lead into objects and through lists of them (`answers.text`)."""

    id: str | None = "id"
    """The id, text or an integer; null numbers the rows, `<split>_0` and so on."""
    question: str = "question"
    """The question."""
    golden_answers: str | tuple[str, ...] = "golden_answers"
    """The gold answers: one text, or a list of texts. Of several fields all answers count, and all but one of them may
    be empty or null. Example: [answer, answer_aliases]."""

    @model_validator(mode="after")
    def _each_is_another(self) -> QuestionFields:
        golds = [self.golden_answers] if isinstance(self.golden_answers, str) else list(self.golden_answers)
        if not golds:
            raise ValueError("golden_answers is empty: name the field of the answers")
        _refuse_doubled([self.id, self.question, *golds])
        return self

    @property
    def gold_fields(self) -> tuple[str, ...]:
        """The fields of the gold answers."""
        return (self.golden_answers,) if isinstance(self.golden_answers, str) else self.golden_answers


class PassageFields(Model):
    """Where a row of passages has what; dots lead into objects."""

    id: str | None = "id"
    """The id, text or an integer; null numbers the rows from 0."""
    contents: str | None = "contents"
    """Title in the first line and text behind it; null where they have fields of their own."""
    title: str | None = None
    """The title; null leaves it empty."""
    text: str | None = None
    """The text, in the place of contents."""

    @model_validator(mode="before")
    @classmethod
    def _text_takes_the_place(cls, raw: Any) -> Any:
        return {"contents": None, **raw} if isinstance(raw, dict) and raw.get("text") is not None else raw

    @model_validator(mode="after")
    def _one_text(self) -> PassageFields:
        if (self.contents is None) == (self.text is None):
            raise ValueError(f"contents ({self.contents!r}) and text ({self.text!r}): name one of them")
        if self.contents is not None and self.title is not None:
            raise ValueError(f"title ({self.title!r}) goes with text; contents has it in its first line")
        _refuse_doubled([self.id, self.contents, self.title, self.text])
        return self


class _DeclaredRow(Model):
    repository: Repository
    """Repository of data sets on the Hugging Face hub, `<owner>/<name>`."""
    revision: Commit
    """Pinned commit: 40 digits."""
    files: tuple[HubFile, ...] = Field(min_length=1)
    """Files to fetch, in their order. Example: [{path: data/test.parquet}]."""
    format: RowFormat | None = None
    """Format of the files; null goes by how their names end. Example: jsonl."""
    rows: PositiveInt | None = None
    """Rows that must be there; null takes whatever the revision has."""

    @model_validator(mode="after")
    def _files_are_read(self) -> _DeclaredRow:
        paths = [file.path for file in self.files]
        _refuse_doubled(paths)
        self.read_as()
        return self

    def read_as(self) -> RowFormat:
        """The format of the files; ValueError where they are of several, or of none that is known."""
        if self.format is not None:
            return self.format
        formats = [ENDINGS[ending] for file in self.files for ending in ENDINGS if file.path.endswith(ending)]
        if len(formats) < len(self.files) or len(set(formats)) > 1:
            raise ValueError(
                f"files ({', '.join(file.path for file in self.files):.200}): how the names end does not say one "
                f"format: set format to one of {', '.join(dict.fromkeys(ENDINGS.values()))}"
            )
        return formats[0]


class QuestionRow(_DeclaredRow):
    """Questions that a study declares."""

    kind: Literal["questions"] = "questions"
    """Marks this kind of row."""
    split: Literal["train", "dev", "test"]
    """Split that the rows belong to: training reads train alone, and a benchmark never."""
    fields: QuestionFields = QuestionFields()
    """Names of the fields."""


class PassageRow(_DeclaredRow):
    """Passages that a study declares."""

    kind: Literal["corpus"] = "corpus"
    """Marks this kind of row."""
    fields: PassageFields = PassageFields()
    """Names of the fields."""


HubRow = Annotated[QuestionRow | PassageRow, Field(discriminator="kind")]
