"""The strict base of every configuration model."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")


class Model(BaseModel):
    """Unknown keys and silent coercions are errors; field docstrings become the descriptions in schema and docs."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def _check_name(value: str) -> str:
    if not NAME.match(value):
        raise ValueError(f"{value!r} is not a usable name: letters, digits, '.', '_' and '-', starting with a letter or digit")
    return value


Name = Annotated[str, AfterValidator(_check_name)]
"""A name that becomes part of a path and of a Snakemake wildcard."""
