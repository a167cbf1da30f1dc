"""Recorded outputs, taken apart: what was generated, and what came from outside."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache

from mrsearch.agent.formats import instructions
from mrsearch.agent.ports import Hit
from mrsearch.agent.recordings.markup import markup_of
from mrsearch.agent.recordings.passages import read_passages
from mrsearch.config.protocol import Protocol
from mrsearch.config.wording import UNWORDED

_SPACE = re.compile(r"\s*")


@dataclass(frozen=True, slots=True)
class RecordedObservation:
    """What a search brought."""

    start: int
    """First character of it in the response, white space included."""
    end: int
    hits: list[Hit]
    inner: str = ""
    """The passages' text as it stands between the tags."""
    is_closed: bool = True
    """Whether its closing tag is there."""


@dataclass(frozen=True, slots=True)
class RecordedMessage:
    """A hint or a reflection prompt, with the markup of a chat template where it stands in the user's turn."""

    start: int
    end: int
    words_start: int
    """First character of its own words, white space included."""
    words_end: int
    is_user_turn: bool
    """Whether it is a user's message by the markup before it."""

    @property
    def closes_turn(self) -> bool:
        """Whether a control token stands between a generation and the words."""
        return self.start < self.words_start


@dataclass(slots=True)
class Piece:
    """One generation, the reply to it, and the reflection prompt that begins another episode after it."""

    start: int
    end: int
    reply: RecordedObservation | RecordedMessage | None = None
    reflection: RecordedMessage | None = None

    @property
    def observation(self) -> RecordedObservation | None:
        """The reply, where it is an observation."""
        return self.reply if isinstance(self.reply, RecordedObservation) else None

    @property
    def hint(self) -> RecordedMessage | None:
        """The reply, where it is a hint."""
        return self.reply if isinstance(self.reply, RecordedMessage) else None

    @property
    def replied(self) -> int:
        """One past the last character of generation and reply."""
        return self.reply.end if self.reply else self.end


@dataclass(slots=True)
class Reading:
    """A recorded response, taken apart under one protocol."""

    pieces: list[Piece] = field(default_factory=list)


def take_apart(response: str, protocol: Protocol) -> Reading:
    """The generations of a response and what came after each.

    A generation ends at its first closing tag of a search or an answer. After it white space and an opening tag of
    passages begin an observation, which reaches to the closing tag and over the white space behind that; the words of
    the hint begin a hint, those of the reflection prompt the next episode. Anything else belongs to the generation. A
    message may also follow a generation that was cut.
    """
    reading, start, position = Reading(), 0, 0
    ends = re.compile("|".join(map(re.escape, protocol.tags.closing)))
    hints, reflections = _messages(protocol)
    while True:
        ended = ends.search(response, position)
        limit = ended.start() if ended else len(response)
        piece = _cut_piece(response, start, (position, limit), protocol)
        if piece is None:
            if ended is None:
                break
            position = ended.end()
            reply = _observation(response, position, protocol) or _message(response, position, hints, protocol)
            piece = Piece(start, position, reply)
        piece.reflection = piece.reflection or _message(response, piece.replied, reflections, protocol)
        if piece.reply or piece.reflection:
            reading.pieces.append(piece)
            start = position = piece.reflection.end if piece.reflection else piece.replied
    if start < len(response) or not reading.pieces:
        reading.pieces.append(Piece(start, len(response)))
    return reading


def _messages(protocol: Protocol) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
    """Patterns of the hint and of the reflection prompt, with whatever that may repeat; None without wording."""
    prompts = protocol.prompts
    texts = (prompts.invalid_action, prompts.reflection, prompts.search)
    return _patterns(*("" if text == UNWORDED else text.strip() for text in texts))


@cache
def _patterns(hint: str, reflection: str, search: str) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
    full_prompt = re.escape(search).replace(re.escape("{question}"), r"[^\n]*?")
    repeated = [pattern for pattern in (full_prompt, re.escape(instructions(search))) if pattern]
    following = rf"(?:\n(?:{'|'.join(repeated)}))?" if repeated else ""
    return (
        re.compile(rf"\s*{re.escape(hint)}\s*") if hint else None,
        re.compile(rf"\s*{re.escape(reflection)}{following}\s*") if reflection else None,
    )


def _cut_piece(response: str, start: int, span: tuple[int, int], protocol: Protocol) -> Piece | None:
    """The generation without a closing tag that a message between the two bounds follows, or None."""
    hints, reflections = _messages(protocol)
    matches = [
        (match.start(), pattern)
        for pattern in (hints, reflections)
        if pattern and (match := pattern.search(response, span[0])) and match.start() < span[1]
    ]
    if not matches:
        return None
    first, pattern = min(matches, key=lambda pair: pair[0])
    message = _message(response, first, pattern, protocol)
    assert message is not None
    if pattern is hints:
        return Piece(start, message.start, message)
    return Piece(start, message.start, None, message)


def _message(
    response: str, position: int, pattern: re.Pattern[str] | None, protocol: Protocol
) -> RecordedMessage | None:
    """The message that begins at `position`, behind white space and markup."""
    if pattern is None:
        return None
    markup = markup_of(protocol.tags)
    match = pattern.match(response, position) or pattern.match(response, markup.end(response, position))
    if match is None:
        return None
    first = match.start() + len(match[0]) - len(match[0].lstrip())
    start = min(markup.start(response, first), match.start())
    end = markup.end(response, match.start() + len(match[0].rstrip()))
    is_user_turn = markup.opens_user_turn(response[start:first])
    return RecordedMessage(start, max(end, match.end()), match.start(), match.end(), is_user_turn)


def _observation(response: str, position: int, protocol: Protocol) -> RecordedObservation | None:
    opening, closing = protocol.tags.information.open, protocol.tags.information.close
    space = _SPACE.match(response, position)
    begin = space.end() if space else position
    if not response.startswith(opening, begin):
        return None
    first = begin + len(opening)
    last = response.find(closing, first)
    if last < 0 or opening in response[first:last]:
        last, closing = _next_opening(response, first, protocol), ""
    inner, after = response[first:last], last + len(closing)
    end = _SPACE.match(response, after)
    return RecordedObservation(
        position, end.end() if end else after, read_passages(inner, protocol), inner, bool(closing)
    )


def _next_opening(response: str, position: int, protocol: Protocol) -> int:
    """Where an observation without its closing tag, which a budget took, is over at the latest: at the next opening tag
    of the policy's own, at a message, or at the markup of one."""
    tags = protocol.tags
    positions = [response.find(pair.open, position) for pair in (tags.think, tags.search, tags.answer)]
    matches = [pattern.search(response, position) for pattern in _messages(protocol) if pattern]
    positions += [match.start() for match in matches if match]
    following = min((position_ahead for position_ahead in positions if position_ahead >= 0), default=len(response))
    return position + markup_of(tags).first(response[position:following])
