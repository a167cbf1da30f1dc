"""The strict base of every configuration model."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from mrsearch.config.renamed import renaming

TRUTH_VALUE = "truth_value"
"""Type of the error for a truth value where none belongs; its context names the key."""
WRITE_TEXT = "write text in quotes ('2024'), in overrides in two kinds of them (\"'2024'\")"
"""The way out where YAML takes text for something else."""
RENAMED = "renamed"
"""Type of the error for a key or value of an older version; its context names the key."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
LONGEST_NAME = 80
"""Names become parts of file names, of which several stand in one."""
REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")
COMMIT = re.compile(r"[0-9a-f]{40}")

MOST = 10**12
"""No count, size or number of bytes is larger."""
LARGEST = 1e9
"""No measured value is larger; as seconds they are thirty years, which every clock and timeout can take."""
PositiveInt = Annotated[int, Field(gt=0, le=MOST)]
NonNegativeInt = Annotated[int, Field(ge=0, le=MOST)]
PositiveFloat = Annotated[float, Field(gt=0.0, le=LARGEST)]
NonNegativeFloat = Annotated[float, Field(ge=0.0, le=LARGEST)]
Measured = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What every library takes as a seed."""
Share = Annotated[float, Field(ge=0.0, le=1.0)]
LearningRate = Annotated[float, Field(gt=0.0, le=10.0)]
Beta = Annotated[float, Field(ge=0.0, lt=1.0)]
"""How much of its past an average of the optimizer keeps."""


class Model(BaseModel):
    """Unknown keys are errors, and so are truth values for numbers; field docstrings become the descriptions in schema
    and docs."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_old_words(cls, raw: Any) -> Any:
        models = [base.__name__ for base in cls.__mro__]
        for key, value in raw.items() if isinstance(raw, dict) else ():
            if message := renaming(models, str(key), value):
                raise PydanticCustomError(RENAMED, "{message}", {"key": str(key), "message": message})
        return raw

    @model_validator(mode="before")
    @classmethod
    def _no_truth_values_for_numbers(cls, raw: Any) -> Any:
        for name, value in raw.items() if isinstance(raw, dict) else ():
            field = cls.model_fields.get(name)
            values = value if isinstance(value, list | tuple) else [value]
            truth = any(isinstance(member, bool) for member in values)
            if truth and field and not _holds(field.annotation, bool, Any):
                hint = f": {WRITE_TEXT}" if _holds(field.annotation, str) else ""
                raise PydanticCustomError(TRUTH_VALUE, "is no truth value{hint}", {"key": name, "hint": hint})
        return raw


class SparseModel(Model):
    """A model some of whose keys are written only where they say something, so that the digests of studies from before
    there were such keys stay as they are."""

    idle_keys: ClassVar[tuple[str, ...]] = ()
    """Keys that are left out while they are at their defaults."""

    def left_out(self) -> tuple[str, ...]:
        """The idle keys of this value; for models whose other keys decide which those are."""
        return self.idle_keys

    @model_serializer(mode="wrap")
    def _without_idle_keys(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        fields = type(self).model_fields
        idle = {key for key in self.left_out() if getattr(self, key) == fields[key].default}
        return {key: value for key, value in values.items() if key not in idle}


def _holds(annotation: Any, *types: Any) -> bool:
    return annotation in types or any(_holds(member, *types) for member in get_args(annotation))


def _check_name(value: str) -> str:
    if not NAME.fullmatch(value) or len(value) > LONGEST_NAME or ".." in value:
        raise ValueError(
            f"{value[: 2 * LONGEST_NAME]!r} is not a usable name: letters, digits, '.', '_' and '-', starting with a "
            f"letter or digit, at most {LONGEST_NAME}, no two dots together"
        )
    return value


def check_repository(value: str) -> str:
    """The value, a repository's name; ValueError where it is none."""
    if not REPOSITORY.fullmatch(value) or len(value) > 2 * LONGEST_NAME or ".." in value or "--" in value:
        raise ValueError(f"{value[:200]!r} is not a repository of the Hugging Face hub: <owner>/<name>")
    return value


def check_commit(value: str) -> str:
    """The value, a whole commit id; ValueError where it is none."""
    if not COMMIT.fullmatch(value):
        raise ValueError(f"{value[:200]!r} is not a full commit (40 digits 0-9a-f): a branch would not be pinned")
    return value


Name = Annotated[str, AfterValidator(_check_name)]
"""A name that becomes part of a path and of a Snakemake wildcard."""
Repository = Annotated[str, AfterValidator(check_repository)]
"""A repository of the Hugging Face hub; it becomes part of a path."""
Commit = Annotated[str, AfterValidator(check_commit)]
"""A pinned revision; it becomes part of a path."""
