"""Whether recorded text keeps the protocol's budgets of tokens, and uses them up where it was cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from mrsearch.agent.formats import fill
from mrsearch.agent.recordings.difference import Difference, Habits
from mrsearch.agent.recordings.file import Recorded
from mrsearch.agent.recordings.markup import markup_of
from mrsearch.agent.recordings.passages import bare_passages
from mrsearch.agent.recordings.reading import Piece, RecordedObservation
from mrsearch.config.protocol import Protocol

COUNT = Callable[[str], int]
"""Tokens of a text."""
SLACK = 4
"""Tokens by which a text that was cut may be shorter than its limit, since it ends with a whole character."""
WHOLE_SLACK = 64
"""Tokens by which a whole record may be shorter than its context was: tokens merge where pieces meet."""

_MEMORY = 4096
"""Texts whose bounds are kept: every variant of a protocol measures the same ones."""


@dataclass(frozen=True, slots=True)
class Size:
    """Bounds of a text's tokens."""

    least: int
    most: int

    def __str__(self) -> str:
        return f"{self.least} tokens" if self.least == self.most else f"{self.least} to {self.most} tokens"


def size_of(text: str, count: COUNT | None) -> Size:
    """The tokens of a text. Without a tokenizer at hand there are at least as many as words, since no token spans
    several, and at most as many as bytes, since none is smaller."""
    if count is None:
        return _bounds(text)
    tokens = count(text)
    return Size(tokens, tokens)


@lru_cache(maxsize=_MEMORY)
def _bounds(text: str) -> Size:
    return Size(len(text.split()), len(text.encode(errors="replace")))


@dataclass(frozen=True, slots=True)
class Budgets:
    """A protocol's budgets, held against recorded text."""

    protocol: Protocol
    habits: Habits
    count: COUNT | None

    def turn(self, recorded: Recorded, piece: Piece, last: bool) -> Difference | None:
        """Whether a generation keeps `max_turn_tokens`, and uses them up where it was cut."""
        text, limit = recorded.response[piece.start : piece.end], self.protocol.max_turn_tokens
        size = size_of(text, self.count)
        is_open = not any(tag in text for tag in self.protocol.tags.closing)
        cut = is_open and ((recorded.is_cut and last) or self._cut(text, piece, size)) and not self.is_full(recorded)
        if size.least > limit + SLACK or (cut and size.most < limit - SLACK):
            return Difference("response", piece.start, f"{limit} tokens", str(size), "max_turn_tokens")
        return None

    def _cut(self, text: str, piece: Piece, size: Size) -> bool:
        """Whether a generation without a closing tag ended for want of tokens, and not with its turn."""
        if self.habits.marks_ends:
            message = piece.hint or piece.reflection
            return not (message.closes_turn if message else markup_of(self.protocol.tags).is_end(text))
        return size.least == size.most and size.least in self.habits.cut_turns

    def observation(self, response: str, reply: RecordedObservation) -> Difference | None:
        """Whether an observation keeps `max_observation_tokens`, and uses them up where it was cut."""
        protocol, limit, text = self.protocol, self.protocol.max_observation_tokens, response[reply.start : reply.end]
        counts_tags = protocol.observation_limit == "observation"
        closed = protocol.tags.information.close in text
        fewer = 0 < len(reply.hits) < self.habits.passages
        if counts_tags and fewer and closed:
            return Difference("response", reply.start, "(no closing tag)", text[-60:], "observation_limit")
        full_text = text
        if closed:
            full_text = fill(protocol.observation_text, passages=bare_passages(reply.inner, protocol))
        size = size_of(full_text if counts_tags else bare_passages(reply.inner, protocol), self.count)
        cut = fewer or (counts_tags and not closed)
        if size.least > limit + SLACK or (cut and size.most < limit - SLACK):
            return Difference("response", reply.start, f"{limit} tokens", str(size), "max_observation_tokens")
        return None

    def is_full(self, recorded: Recorded) -> bool:
        """Whether a record may have ended at the limit of its context."""
        size, protocol = self._record_size(recorded), self.protocol
        return protocol.context_overflow == "end" and size.most >= protocol.max_context_tokens - WHOLE_SLACK

    def context(self, recorded: Recorded) -> Difference | None:
        """Whether a record keeps a context that ends at its limit."""
        size, protocol = self._record_size(recorded), self.protocol
        if protocol.context_overflow == "rolling" or size.least <= protocol.max_context_tokens:
            return None
        limit = f"{protocol.max_context_tokens} tokens"
        return Difference("response", 0, limit, str(size), "context_overflow")

    def _record_size(self, recorded: Recorded) -> Size:
        return size_of((recorded.prompt or "") + recorded.response, self.count)
