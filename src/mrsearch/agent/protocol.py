"""The wire format: what a generation asks for, and where it ends."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mrsearch.agent.records import ActionKind

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_BLOCK = re.compile(r"<(search|answer)>(.*?)</\1>", re.DOTALL)
_CLOSING_TAGS = ("</search>", "</answer>")
_TAIL = max(map(len, _CLOSING_TAGS))
"""A token holds at least one character, so a closing tag ends within this many tokens."""


def read_action(text: str) -> tuple[ActionKind, str]:
    """What a generation asks for, and its query or answer.

    The first complete `<search>` or `<answer>` block decides; a block opens at the first tag that has its closing tag
    after it, as in Search-R1. No block, or one with nothing in it, is an invalid action with empty content. All other
    tags are plain text, an `<information>` block that the model wrote itself included.
    """
    block = _BLOCK.search(text)
    content = block.group(2).strip() if block else ""
    if block is None or not content:
        return ActionKind.invalid, ""
    return ActionKind(block.group(1)), content


class StopRule:
    """Where a generation ends: at the token that completes its first `</search>` or `</answer>`, or at an end-of-turn
    token. It decides on token ids, whether a tag is one token, several, or merged with the text after it."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        # The library's own decode: the wrapper around it costs ten times as much, which every token would pay.
        self._backend = tokenizer.backend_tokenizer
        self.end_of_turn = end_of_turn_ids(tokenizer)
        """Ids that end an assistant turn whatever the text says."""
        texts = {token: self._decode([token]) for name, token in tokenizer.get_vocab().items() if ">" in name}
        self.candidates: frozenset[int] = self.end_of_turn | {
            token for token, text in texts.items() if _can_close(text)
        }
        """Ids at which a generation can end; `is_end` is false for all others."""
        self._certain = self.end_of_turn | {token for token, text in texts.items() if _closes(text)}

    def is_end(self, token_ids: Sequence[int]) -> bool:
        """Whether the last token of this generation so far ends it.

        Ask after every token: only a short tail is read, so an end further back is not seen.
        """
        if not token_ids or token_ids[-1] not in self.candidates:
            return False
        if token_ids[-1] in self._certain:
            return True
        tail = list(token_ids[-_TAIL:])
        return _closes(self._decode(tail)) and not _closes(self._decode(tail[:-1]))

    def _decode(self, token_ids: list[int]) -> str:
        return str(self._backend.decode(token_ids, skip_special_tokens=False))


def end_of_turn_ids(tokenizer: PreTrainedTokenizerFast) -> frozenset[int]:
    """The tokenizer's end-of-sequence id and, where it differs, the special token that closes an assistant turn in the
    chat template."""
    ends = {tokenizer.eos_token_id} - {None}
    closing = tokenizer.encode(after_assistant(tokenizer, "user"), add_special_tokens=False)
    if closing and closing[0] in tokenizer.all_special_ids:
        ends.add(closing[0])
    return frozenset(ends)


def after_assistant(tokenizer: PreTrainedTokenizerFast, message: str) -> str:
    """The text that the chat template puts after an assistant's words when the user says `message` next: the end of the
    turn, the user message and the generation prompt."""
    sentinel = "mrsearch-sentinel"
    conversation = [
        {"role": "user", "content": "question"},
        {"role": "assistant", "content": sentinel},
        {"role": "user", "content": message},
    ]
    text = str(tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True))
    if text.count(sentinel) != 1:
        raise ValueError(
            f"the chat template shows an assistant message {text.count(sentinel)} times instead of once: "
            "the agent needs a template that keeps earlier turns"
        )
    return text.split(sentinel)[1]


def _closes(text: str) -> bool:
    return any(tag in text for tag in _CLOSING_TAGS)


def _can_close(text: str) -> bool:
    """Whether a token with this text can complete a closing tag: it holds one, or its start up to a '>' ends one."""
    starts = [text[: match.end()] for match in re.finditer(">", text)]
    return _closes(text) or any(tag.endswith(start) for tag in _CLOSING_TAGS for start in starts)
