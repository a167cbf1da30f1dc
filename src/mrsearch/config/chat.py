"""What the model's chat template is told besides the messages."""

from __future__ import annotations

from datetime import date as Date
from typing import Annotated, Any

from pydantic import Field, field_validator

from mrsearch.config.base import MOST, Measured, Model

Integer = Annotated[int, Field(ge=-MOST, le=MOST)]

OWN_ARGUMENTS = frozenset(
    {
        "conversation",
        "messages",
        "tools",
        "documents",
        "chat_template",
        "add_generation_prompt",
        "continue_final_message",
        "tokenize",
        "padding",
        "truncation",
        "max_length",
        "return_tensors",
        "return_dict",
        "return_assistant_tokens_mask",
        "tokenizer_kwargs",
        "strftime_now",
        "raise_exception",
    }
)
"""What the agent or the library sets itself."""


class ChatTemplate(Model):
    """What the model's chat template is told besides the messages."""

    date: Date = Date(2025, 1, 1)
    """The day that templates take for today (`strftime_now`), so that a prompt is the same tomorrow.
    Example: 2025-06-30."""
    arguments: dict[str, bool | Integer | Measured | str | None] = Field(default_factory=dict)
    """Variables of the template by name. Example: {enable_thinking: false}."""

    @field_validator("date", mode="before")
    @classmethod
    def _is_a_day(cls, value: Any) -> Any:
        if isinstance(value, int | float):
            raise ValueError(f"{value!r} is no day: write one as 2025-06-30")
        return value

    @field_validator("arguments")
    @classmethod
    def _are_free(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        for name in arguments:
            if not name.isidentifier() or name in OWN_ARGUMENTS:
                raise ValueError(f"{name!r} is no variable that a study can set: see the model's chat_template.jinja")
        return arguments
