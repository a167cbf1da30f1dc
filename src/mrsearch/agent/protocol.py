"""The wire format: what a generation asks for, and where it ends."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mrsearch.agent.chat import DEFAULT_TEMPLATE, after_assistant
from mrsearch.agent.records import ActionKind
from mrsearch.config.chat import ChatTemplate
from mrsearch.config.wording import Tags
from mrsearch.files import json_object

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

DEFAULT_TAGS = Tags()
CLOSING_TAGS = DEFAULT_TAGS.closing
"""A generation ends with the first of them; servers get them as stop strings."""


def read_action(text: str, tags: Tags = DEFAULT_TAGS) -> tuple[ActionKind, str]:
    """What a generation asks for, and its query or answer.

    The first complete `<search>` or `<answer>` block decides; a block opens at the first tag that has its closing tag
    after it, as in Search-R1. No block, or one with nothing in it, is an invalid action with empty content. All other
    tags are plain text, an `<information>` block that the model wrote itself included.
    """
    block = _block_pattern(tags.search.open, tags.search.close, tags.answer.open, tags.answer.close).search(text)
    action = ActionKind(block.lastgroup) if block and block.lastgroup else ActionKind.invalid
    content = block[block.lastgroup].strip() if block and block.lastgroup else ""
    return (action, content) if content else (ActionKind.invalid, "")


@cache
def _block_pattern(search: str, search_end: str, answer: str, answer_end: str) -> re.Pattern[str]:
    """A whole block of an action; the group that matched is the action's name."""
    blocks = (("search", search, search_end), ("answer", answer, answer_end))
    patterns = (f"{re.escape(first)}(?P<{action}>.*?){re.escape(last)}" for action, first, last in blocks)
    return re.compile("|".join(patterns), re.DOTALL)


class StopRule:
    """Where a generation ends: at the token that completes its first closing tag (`</search>` or `</answer>` unless
    the protocol says otherwise), or at an end-of-turn token. It decides on token ids, whether a tag is one token,
    several, or merged with the text after it."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        closing: Sequence[str] = CLOSING_TAGS,
        template: ChatTemplate = DEFAULT_TEMPLATE,
    ) -> None:
        self.closing = tuple(closing)
        """The closing tags; servers get them as stop strings."""
        # A token holds at least one character, so a closing tag ends within this many tokens.
        self._tail = max(map(len, self.closing))
        # The library's own decode: the wrapper around it costs ten times as much, which every token would pay.
        self._backend = tokenizer.backend_tokenizer
        self.end_of_turn = end_of_turn_ids(tokenizer, template)
        """Ids that end an assistant turn whatever the text says."""
        last = {tag[-1] for tag in self.closing}
        # A byte-level vocabulary spells other characters in its own letters, so that no name can be left out.
        plain = all(character.isascii() for character in last)
        texts = {
            token: self._decode([token])
            for name, token in tokenizer.get_vocab().items()
            if not plain or any(character in name for character in last)
        }
        self.candidates: frozenset[int] = self.end_of_turn | {
            token for token, text in texts.items() if self._can_close(text)
        }
        """Ids at which a generation can end; `is_end` is false for all others."""
        self._certain = self.end_of_turn | {token for token, text in texts.items() if self._closes(text)}

    def is_end(self, token_ids: Sequence[int]) -> bool:
        """Whether the last token of this generation so far ends it.

        Ask after every token: only a short tail is read, so an end further back is not seen.
        """
        if not token_ids or token_ids[-1] not in self.candidates:
            return False
        if token_ids[-1] in self._certain:
            return True
        tail = list(token_ids[-self._tail :])
        return self._closes(self._decode(tail)) and not self._closes(self._decode(tail[:-1]))

    def first_end(self, token_ids: list[int], start: int = 0) -> int | None:
        """The number of tokens up to the first one, from index `start` on, that ends the generation; None where none
        does. Equal to asking `is_end` after every token, at a tenth of the cost."""
        for index, token in enumerate(token_ids[start:] if start else token_ids, start):
            if token in self.candidates and self.is_end(token_ids[max(0, index + 1 - self._tail) : index + 1]):
                return index + 1
        return None

    def _closes(self, text: str) -> bool:
        return any(tag in text for tag in self.closing)

    def _can_close(self, text: str) -> bool:
        """Whether a token with this text can complete a closing tag: it holds one, or one of its starts ends one."""
        starts = {text[: index + 1] for tag in self.closing for index, letter in enumerate(text) if letter == tag[-1]}
        return self._closes(text) or any(tag.endswith(start) for tag in self.closing for start in starts)

    def _decode(self, token_ids: list[int]) -> str:
        return str(self._backend.decode(token_ids, skip_special_tokens=False))


def end_of_turn_ids(tokenizer: PreTrainedTokenizerFast, template: ChatTemplate = DEFAULT_TEMPLATE) -> frozenset[int]:
    """The tokenizer's end-of-sequence id, those of the folder's `generation_config.json`, and the added token that
    follows an assistant's words in the chat template: the one that closes the turn, or opens the next.

    ValueError for a `generation_config.json` that cannot be read.
    """
    ends = ({tokenizer.eos_token_id} | _generation_ends(tokenizer)) - {None}
    if not tokenizer.chat_template:
        return frozenset(ends)
    following = tokenizer.encode(after_assistant(tokenizer, "user", template).lstrip(), add_special_tokens=False)[:1]
    added = set(tokenizer.added_tokens_decoder) | set(tokenizer.all_special_ids)
    ends.update(token for token in following if token in added and token != tokenizer.unk_token_id)
    return frozenset(ends)


def _generation_ends(tokenizer: PreTrainedTokenizerFast) -> set[int]:
    """The ids with which the model's folder says a generation ends; empty where it says nothing."""
    path = Path(tokenizer.name_or_path) / "generation_config.json"
    if not tokenizer.name_or_path or not path.is_file():
        return set()
    eos = json_object(path, "mend or delete it").get("eos_token_id")
    ids = eos if isinstance(eos, list) else [] if eos is None else [eos]
    if wrong := [token for token in ids if type(token) is not int or token < 0]:
        raise ValueError(f"{path}: eos_token_id holds {wrong[0]!r}, which is no token id: mend or delete it")
    return set(ids)
