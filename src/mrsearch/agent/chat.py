"""Conversations as text, by the tokenizer's chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, time
from typing import TYPE_CHECKING, Any

from mrsearch.config.chat import ChatTemplate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

DEFAULT_TEMPLATE = ChatTemplate()


def chat_text(
    tokenizer: PreTrainedTokenizerFast, messages: Sequence[Mapping[str, str]], template: ChatTemplate = DEFAULT_TEMPLATE
) -> str:
    """The conversation with the generation prompt.

    A variable hides the template's function of that name, so that `strftime_now` tells midnight of the protocol's date.
    """
    variables: dict[str, Any] = {"strftime_now": datetime.combine(template.date, time()).strftime, **template.arguments}
    conversation = [dict(message) for message in messages]
    return str(tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True, **variables))


def after_assistant(tokenizer: PreTrainedTokenizerFast, message: str, template: ChatTemplate = DEFAULT_TEMPLATE) -> str:
    """The text that the chat template puts after an assistant's words when the user says `message` next: the end of the
    turn, the user message and the generation prompt."""
    sentinel = "mrsearch-sentinel"
    conversation = [
        {"role": "user", "content": "question"},
        {"role": "assistant", "content": sentinel},
        {"role": "user", "content": message},
    ]
    text = chat_text(tokenizer, conversation, template)
    if text.count(sentinel) != 1:
        raise ValueError(
            f"the chat template shows an assistant message {text.count(sentinel)} times instead of once: "
            "the agent needs a template that keeps earlier turns"
        )
    return text.split(sentinel)[1]
