"""What the records of a file have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mrsearch.agent.recordings.budgets import COUNT
from mrsearch.agent.recordings.causes import Read
from mrsearch.agent.recordings.difference import Habits, common_prefix
from mrsearch.agent.recordings.markup import markup_of
from mrsearch.agent.recordings.passages import bare_passages
from mrsearch.agent.recordings.prompts import is_wrapped
from mrsearch.config.protocol import Protocol


def habits_of(pairs: Sequence[Read], protocol: Protocol, count: COUNT | None) -> Habits:
    """The habits of a file's records; counts of tokens only where a tokenizer is at hand."""
    observed, hinted, passages, marks_ends, space_inside = list[str](), list[str](), 0, False, False
    for record, reading in pairs:
        for piece in reading.pieces:
            if piece.observation:
                observed.append(_space_behind(record.response[piece.end : piece.replied]))
                inner = bare_passages(piece.observation.inner, protocol)
                space_inside |= inner != inner.rstrip()
                passages = max(passages, len(piece.observation.hits))
            marks_ends |= any(
                message is not None and message.closes_turn and not message.is_user_turn
                for message in (piece.hint, piece.reflection)
            )
            if piece.hint:
                hinted.append(_space_behind(record.response[piece.hint.words_start : piece.hint.words_end]))
        marks_ends |= markup_of(protocol.tags).is_end(record.response)
    wrapped = Counter(is_wrapped(record) for record, _ in pairs if record.prompt is not None)
    return Habits(
        after_observation=common_prefix(observed),
        space_inside=space_inside,
        after_hint=common_prefix(hinted),
        wrapped=wrapped.most_common(1)[0][0] if wrapped else None,
        passages=passages,
        cut_turns=_cut_turns(pairs, protocol, count),
        marks_ends=marks_ends,
        budgets=_budgets(pairs, protocol, count),
    )


def _space_behind(text: str) -> str:
    return text[len(text.rstrip()) :]


def _cut_turns(pairs: Sequence[Read], protocol: Protocol, count: COUNT | None) -> frozenset[int]:
    """Token counts at which several generations end without a closing tag."""
    if count is None:
        return frozenset()
    texts = [record.response[piece.start : piece.end] for record, reading in pairs for piece in reading.pieces]
    turns = Counter(count(text) for text in texts if not any(tag in text for tag in protocol.tags.closing))
    return frozenset(tokens for tokens, times in turns.items() if times > 1)


def _budgets(pairs: Sequence[Read], protocol: Protocol, count: COUNT | None) -> tuple[tuple[str, int], ...]:
    """The largest generation, observation and record of a file."""
    if count is None:
        return ()
    counts_tags = protocol.observation_limit == "observation"
    turns, observations = [0], [0]
    for record, reading in pairs:
        for piece in reading.pieces:
            turns.append(count(record.response[piece.start : piece.end]))
            if piece.observation:
                shown = record.response[piece.end : piece.replied] if counts_tags else piece.observation.inner
                observations.append(count(shown))
    records = [count((record.prompt or "") + record.response) for record, _ in pairs]
    largest = (max(turns), max(observations), max(records))
    return tuple(zip(("max_turn_tokens", "max_observation_tokens", "max_context_tokens"), largest, strict=True))
