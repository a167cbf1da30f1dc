"""From words to tokens: everything the agent reads, encoded for one tokenizer."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from mrsearch.agent.ports import Hit
from mrsearch.agent.protocol import StopRule, after_assistant
from mrsearch.config.protocol import Protocol

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_MEMORY = 4096
"""Encodings kept: the fixed texts, a step's prompts and the passages met most recently."""


class Dialogue:
    """Encodes prompts, observations and hints, and decodes generations. Text from outside (questions, passages) cannot
    write control tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, protocol: Protocol) -> None:
        if not tokenizer.chat_template:
            raise ValueError("the tokenizer has no chat template: add chat_template.jinja to the model's folder")
        self.tokenizer, self.protocol = tokenizer, protocol
        self.stop_rule = StopRule(tokenizer)
        self._encode = lru_cache(maxsize=_MEMORY)(self._encode_anew)
        self._after_assistant = lru_cache(maxsize=None)(lambda message: after_assistant(tokenizer, message))
        controls = sorted((token for token in tokenizer.all_special_tokens if len(token) > 1), key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, controls)) or r"(?!)")

    def first_prompt(self, procedure: str, question: str, information: str = "") -> list[int]:
        """The tokens of system message (where set), first user message and generation prompt.

        `procedure` is a method's; meta_episode and search_o1 read the prompt called search. `information` is for rag
        and ircot.
        """
        prompts = self.protocol.prompts
        template = {
            "meta_episode": prompts.search,
            "search_o1": prompts.search,
            "search": prompts.search,
            "direct": prompts.direct,
            "cot": prompts.cot,
            "rag": prompts.rag,
            "ircot": prompts.ircot,
        }[procedure]
        return self._chat(_fill(template, question=self._plain(self.question_text(question)), information=information))

    def reading_prompt(self, reasoning: str, query: str, hits: Sequence[Hit]) -> list[int]:
        """The tokens of `search_o1`'s reading: a conversation of its own about the passages of one search."""
        fields = {"reasoning": self._plain(reasoning), "query": self._plain(query)}
        return self._chat(_fill(self.protocol.prompts.read, **fields, information=self.passages(hits)))

    def answer(self, text: str) -> list[int]:
        """The tokens of a reply that gives `text` as its answer and says nothing else."""
        return list(self._encode(f"<answer> {self._plain(text)} </answer>"))

    def conclusion(self, last_token: int | None) -> list[int]:
        """The tokens that ask `ircot` for its answer, as a user message."""
        return self._user_turn(self.protocol.prompts.conclude, last_token)

    def _chat(self, user: str) -> list[int]:
        prompts = self.protocol.prompts
        messages = [{"role": "system", "content": prompts.system}] if prompts.system is not None else []
        messages.append({"role": "user", "content": user})
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return list(self._encode(str(text)))

    def question_text(self, question: str) -> str:
        """The question as the agent reads it: trimmed and, where the protocol says so, with a final question mark."""
        question = question.strip()
        if self.protocol.append_question_mark and not question.endswith("?"):
            question += "?"
        return question

    def reflection(self, last_token: int | None) -> list[int]:
        """The tokens between two episodes: the end of the assistant turn (left out where `last_token` is that end
        already), the reflection prompt as a user message and the generation prompt."""
        return self._user_turn(self.protocol.prompts.reflection, last_token)

    def invalid_action(self, last_token: int | None = None) -> tuple[str, list[int]]:
        """The hint after an invalid action, and its tokens.

        It continues the assistant turn, as an observation does; where `last_token` has closed that turn, it comes as a
        user message.
        """
        hint = self.protocol.prompts.invalid_action
        if last_token in self.stop_rule.end_of_turn:
            return hint, self._user_turn(hint, last_token)
        return hint, list(self._encode(hint))

    def observation(self, hits: Sequence[Hit]) -> tuple[str, list[int]]:
        """The observation that answers a search, and its tokens."""
        text = _fill(self.protocol.observation_format, passages=self.passages(hits))
        return text, list(self._encode(text))

    def notes(self, text: str) -> tuple[str, list[int]]:
        """What was read in the passages of a search, as the observation that answers it, and its tokens."""
        text = _fill(self.protocol.observation_format, passages=self._cut(self._plain(text)))
        return text, list(self._encode(text))

    def passages(self, hits: Sequence[Hit]) -> str:
        """The passages of one search as text, cut at the protocol's `observation_tokens`."""
        parts = [
            _fill(
                self.protocol.passage_format,
                rank=str(rank),
                title=self._plain(hit.passage.title),
                text=self._plain(hit.passage.text),
            )
            for rank, hit in enumerate(hits, 1)
        ]
        return self._cut("".join(parts)) if parts else self.protocol.no_hits

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of `token_ids`, special tokens and spaces kept as they are."""
        return str(self.tokenizer.backend_tokenizer.decode(list(token_ids), skip_special_tokens=False))

    def count_until(self, token_ids: Sequence[int], length: int) -> int:
        """How many leading tokens it takes to hold the first `length` characters of the text of `token_ids`."""
        counts = range(len(token_ids))
        return bisect_left(counts, length, key=lambda count: len(self.decode(token_ids[:count])))

    def _user_turn(self, message: str, last_token: int | None) -> list[int]:
        token_ids = list(self._encode(self._after_assistant(message)))
        return token_ids[1:] if last_token is not None and token_ids[:1] == [last_token] else token_ids

    def _cut(self, text: str) -> str:
        """The longest start of `text` that ends between two tokens and has at most `observation_tokens` of them."""
        limit = self.protocol.observation_tokens
        while len(self._encode(text)) > limit:
            offsets = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
            text = text[: min(offsets[limit][0], len(text) - 1)]
        return text

    def _plain(self, text: str) -> str:
        """`text` with a space inside whatever would be read as a control token."""
        return self._control.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)

    def _encode_anew(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))


def _fill(template: str, **values: str) -> str:
    """`template` with each `{name}` replaced in one pass, so that all other braces stay as they are."""
    return re.sub("|".join(rf"\{{{name}\}}" for name in values), lambda match: values[match[0][1:-1]], template)
