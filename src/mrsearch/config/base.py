"""The strict base of every configuration model."""

from __future__ import annotations

import re
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

TRUTH_VALUE = "truth_value"
"""Type of the error for a truth value where none belongs; its context names the key."""
NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")


class Model(BaseModel):
    """Unknown keys are errors, and so are truth values for numbers; field docstrings become the descriptions in schema
    and docs."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_values_for_numbers(cls, raw: Any) -> Any:
        for name, value in raw.items() if isinstance(raw, dict) else ():
            field = cls.model_fields.get(name)
            if isinstance(value, bool) and field and not _holds_truth_value(field.annotation):
                raise PydanticCustomError(TRUTH_VALUE, "is no truth value", {"key": name})
        return raw


def _holds_truth_value(annotation: Any) -> bool:
    return annotation in (bool, Any) or any(_holds_truth_value(part) for part in get_args(annotation))


def _check_name(value: str) -> str:
    if not NAME.match(value):
        raise ValueError(
            f"{value!r} is not a usable name: letters, digits, '.', '_' and '-', starting with a letter or digit"
        )
    return value


Name = Annotated[str, AfterValidator(_check_name)]
"""A name that becomes part of a path and of a Snakemake wildcard."""
