"""From words to tokens: everything the agent reads, encoded for one tokenizer."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from mrsearch.agent.characters import CharacterBorders
from mrsearch.agent.chat import after_assistant, chat_text
from mrsearch.agent.formats import contents_of, reflection_template, title_of
from mrsearch.agent.outside import ControlTokens, Origin, Piece, split_template
from mrsearch.agent.ports import Hit
from mrsearch.agent.protocol import StopRule
from mrsearch.config.protocol import Protocol

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_MEMORY = 4096
"""Encodings kept: the fixed texts, a step's prompts and the passages met most recently."""


class Renderer:
    """Encodes prompts, observations and hints, and decodes generations. Text from outside (questions, passages) cannot
    write control tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, protocol: Protocol) -> None:
        if not tokenizer.chat_template and protocol.chat == "template":
            raise ValueError("the tokenizer has no chat template: add chat_template.jinja to the model's folder")
        self.tokenizer, self.protocol = tokenizer, protocol
        self.stop_rule = StopRule(tokenizer, protocol.tags.closing, protocol.chat_template)
        self.borders = CharacterBorders(tokenizer)
        self._encode = lru_cache(maxsize=_MEMORY)(self._encode_anew)
        self._after_assistant = lru_cache(maxsize=None)(
            lambda message: after_assistant(tokenizer, message, protocol.chat_template)
        )
        self._controls = ControlTokens(tokenizer, protocol.tags)

    def first_prompt(
        self, procedure: str, question: str, information: str = "", searches: int | None = None
    ) -> list[int]:
        """The tokens of system message (where set), first user message and generation prompt.

        `procedure` is a method's. `information` is for rag and ircot. searches: here and below, how many the agent has
        left, which it reads where the protocol tells budgets.
        """
        template = self.protocol.prompts.first(procedure)
        question_piece = (self.protocol.question_text(question), Origin.outside)
        text = self._fill(template, question=question_piece, information=(information, Origin.composed))
        return self._chat(text + self.budget(searches))

    def budget(self, searches: int | None) -> str:
        """What tells the agent how many searches it has left; empty where the protocol or `searches` says nothing."""
        text = self.protocol.prompts.budget if searches is not None else ""
        return text.replace("{searches}", str(searches))

    def reading_prompt(self, reasoning: str, query: str, hits: Sequence[Hit]) -> list[int]:
        """The tokens of `search_o1`'s reading: a conversation of its own about the passages of one search."""
        fields = {"reasoning": (reasoning, Origin.policy), "query": (query, Origin.policy)}
        information = (self.passages(hits), Origin.composed)
        return self._chat(self._fill(self.protocol.prompts.read, **fields, information=information))

    def answer(self, text: str) -> list[int]:
        """The tokens of a reply that gives `text` as its answer and says nothing else."""
        tags = self.protocol.tags.answer
        return list(self._encode(self._fill(f"{tags.open} {{text}} {tags.close}", text=(text, Origin.outside))))

    def conclusion(self, last_token: int | None) -> list[int]:
        """The tokens that ask `ircot` for its answer, as a user message."""
        return self._user_turn(self.protocol.prompts.conclude, last_token)

    def summary(self, last_token: int | None) -> list[int]:
        """The tokens that ask for a summary of the episode, as a user message."""
        return self._user_turn(self.protocol.prompts.summary, last_token)

    def _chat(self, user: str) -> list[int]:
        prompts = self.protocol.prompts
        if self.protocol.chat == "none":
            return list(self._encode(user))
        messages = [{"role": "system", "content": prompts.system}] if prompts.system is not None else []
        messages.append({"role": "user", "content": user})
        return list(self._encode(chat_text(self.tokenizer, messages, self.protocol.chat_template)))

    def reflection(self, last_token: int | None, question: str = "", searches: int | None = None) -> list[int]:
        """The tokens between two episodes: the end of the assistant turn (left out where `last_token` is that end
        already), the reflection prompt as a user message and the generation prompt; or that prompt alone where it goes
        on in the assistant's turn. `question` is repeated where the protocol says so."""
        message = self.reflection_text(question) + self.budget(searches)
        if self.protocol.reflection.role == "assistant":
            return list(self._encode(message))
        return self._user_turn(message, last_token)

    def reflection_text(self, question: str) -> str:
        """The reflection prompt with what it repeats."""
        prompts = self.protocol.prompts
        fixed, template = reflection_template(prompts.reflection, prompts.search, self.protocol.reflection.repeats)
        question_piece = (self.protocol.question_text(question), Origin.outside)
        return fixed + self._fill(template, question=question_piece)

    def invalid_action(self, last_token: int | None = None, searches: int | None = None) -> tuple[str, list[int]]:
        """The hint after an invalid action, and its tokens.

        It continues the assistant turn, as an observation does; where `last_token` has closed that turn, it comes as a
        user message. The protocol may fix its place.
        """
        hint, role = self.protocol.prompts.invalid_action, self.protocol.invalid_action_role
        hint += self.budget(searches)
        if role == "user" or (role == "turn" and last_token in self.stop_rule.end_of_turn):
            return hint, self._user_turn(hint, last_token)
        return hint, list(self._encode(hint))

    def observation(self, hits: Sequence[Hit], searches: int | None = None) -> tuple[str, list[int]]:
        """The observation that answers a search, and its tokens."""
        text = self._observation(self.passages(hits)) + self.budget(searches)
        return text, list(self._encode(text))

    def notes(self, text: str, searches: int | None = None) -> tuple[str, list[int]]:
        """What was read in the passages of a search, as the observation that answers it, and its tokens."""
        text = self._observation(self._cut_passages(self._controls.compose([(text, Origin.policy)])))
        text += self.budget(searches)
        return text, list(self._encode(text))

    def passages(self, hits: Sequence[Hit]) -> str:
        """The passages of one search as text, cut at the protocol's `max_observation_tokens`."""
        pieces: list[Piece] = []
        for rank, hit in enumerate(hits, 1):
            title = title_of(self.protocol, hit)
            fields = {
                "rank": [(str(rank), Origin.protocol)],
                "title": [(title, Origin.outside)],
                "text": [(hit.passage.text, Origin.outside)],
                "contents": [(contents_of(self.protocol, hit), Origin.outside)],
            }
            pieces += split_template(self.protocol.passage_format, fields)
        if not pieces:
            return self.protocol.no_hits
        text = self._controls.compose(pieces)
        return self._cut_passages(text.strip() if self.protocol.strip_passages else text)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of `token_ids`, special tokens and spaces kept as they are."""
        return str(self.tokenizer.backend_tokenizer.decode(list(token_ids), skip_special_tokens=False))

    def count_until(self, token_ids: Sequence[int], length: int) -> int:
        """How many leading tokens it takes to hold the first `length` characters of the text of `token_ids`, no
        character broken."""
        counts = [count for count in range(len(token_ids)) if self.borders.is_border(token_ids, count)]
        index = bisect_left(counts, length, key=lambda count: len(self.decode(token_ids[:count])))
        return counts[index] if index < len(counts) else len(token_ids)

    def _observation(self, passages: str) -> str:
        text = self._fill(self.protocol.observation_text, passages=(passages, Origin.composed))
        return self._cut(text) if self.protocol.observation_limit == "observation" else text

    def _cut_passages(self, text: str) -> str:
        return self._cut(text) if self.protocol.observation_limit == "passages" else text

    def _user_turn(self, message: str, last_token: int | None) -> list[int]:
        if self.protocol.chat == "none":
            return list(self._encode(message))
        token_ids = list(self._encode(self._after_assistant(message)))
        if last_token is None or last_token not in token_ids:
            return token_ids
        index = token_ids.index(last_token)
        return token_ids if self.decode(token_ids[:index]).strip() else token_ids[index + 1 :]

    def _cut(self, text: str) -> str:
        """The longest start of `text` that ends between two tokens and has at most `max_observation_tokens` of them."""
        limit = self.protocol.max_observation_tokens
        while len(self._encode(text)) > limit:
            offsets = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
            text = text[: min(offsets[limit][0], len(text) - 1)]
        return text

    def _fill(self, template: str, **values: Piece) -> str:
        return self._controls.compose(split_template(template, {name: [value] for name, value in values.items()}))

    def _encode_anew(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))
