"""Settings that one method has for itself, over those that the methods of a study share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, GetJsonSchemaHandler, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from mrsearch.config.base import Model, Name
from mrsearch.config.presets import merged
from mrsearch.config.problems import problems

SHARED = ("preset", "wording", "answer", "scoring", "append_question_mark")
"""Keys of the protocol that no method has for itself: one table counts one answer by one score, questions are stored
once, and a preset says what the others mean."""
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class KeysOf:
    """Marks a mapping whose keys are some of a model's, for schema and docs."""

    model: type[BaseModel]

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(self.model.__pydantic_core_schema__)


class MethodRetrieval(Model):
    """What one method searches."""

    use: Name
    """Name of the retriever that its agents search with, in place of `retrieval.use`."""


def joined(shared: M, changes: dict[str, Any], where: str) -> M:
    """The shared settings with a method's own in their place, group by group; ValueError names `where` and key."""
    if not changes:
        return shared
    try:
        return type(shared).model_validate(merged(shared.model_dump(), changes))
    except ValidationError as error:
        raise ValueError("; ".join(f"{where}.{line}" for line in problems(error))) from error


def restored(shared: BaseModel, changes: dict[str, Any]) -> dict[str, Any]:
    """The shared values of the keys that `changes` has: over the changed settings, they give back the shared ones."""
    values = {}
    for key, change in changes.items():
        value = getattr(shared, key)
        if isinstance(value, BaseModel):
            value = restored(value, change) if isinstance(change, dict) else value.model_dump(mode="json")
        values[key] = list(value) if isinstance(value, tuple) else value
    return values
