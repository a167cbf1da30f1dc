"""Holding a protocol against a file of recorded outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from mrsearch.agent.recordings.budgets import COUNT
from mrsearch.agent.recordings.causes import Read, with_causes
from mrsearch.agent.recordings.difference import Difference
from mrsearch.agent.recordings.file import Recorded
from mrsearch.agent.recordings.habits import habits_of
from mrsearch.agent.recordings.learned import messages_in, worded
from mrsearch.agent.recordings.prompts import is_wrapped
from mrsearch.agent.recordings.reading import Reading, take_apart
from mrsearch.agent.recordings.replay import Replay
from mrsearch.agent.recordings.unshown import Unshown, unshown_keys
from mrsearch.config.presets import PRESETS
from mrsearch.config.protocol import Protocol


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of one record: equal where `difference` is None."""

    recorded: Recorded
    difference: Difference | None


@dataclass
class Check:
    """The verdict on a file."""

    replay: Replay
    """The protocol, played with what the records have in common."""
    pairs: list[Read]
    differences: list[Difference | None]
    """One for each record."""
    notes: list[str] = field(default_factory=list)

    @property
    def results(self) -> list[Checked]:
        """What became of each record."""
        pairs = zip(self.pairs, self.differences, strict=True)
        return [Checked(recorded, difference) for (recorded, _), difference in pairs]

    @property
    def equal(self) -> int:
        """Records that are rendered exactly."""
        return self.differences.count(None)

    @property
    def keys(self) -> set[str]:
        """The keys that likely cause the differences."""
        return {difference.key for difference in self.differences if difference}

    @cached_property
    def unshown(self) -> list[Unshown]:
        """Keys that the equal records do not show; empty where no record is equal."""
        equal = [pair for pair, difference in zip(self.pairs, self.differences, strict=True) if difference is None]
        return unshown_keys(equal, self.replay) if equal else []


def check_records(records: Sequence[Recorded], protocol: Protocol, count: COUNT | None = None) -> Check:
    """Play every record through the protocol. Wording that its preset leaves open is taken from the records, and a
    note says so; `count` counts tokens, without it words and bytes bound budgets of tokens."""
    protocol, notes = worded(records, protocol)
    count = count and cache(count)
    pairs = list(zip(records, _read(records, protocol), strict=True))
    replay = Replay(protocol, habits_of(pairs, protocol, count), count)
    differences = with_causes([replay.difference(*pair) for pair in pairs], pairs, replay)
    wrapped = sum(is_wrapped(record) is True for record in records)
    if 0 < wrapped < sum(record.prompt is not None for record in records):
        notes.append(f"{wrapped} prompts stand inside a chat template, the others do not: chat was held against most")
    return Check(replay, pairs, differences, notes)


def _read(records: Sequence[Recorded], protocol: Protocol) -> list[Reading]:
    """The records, taken apart under the protocol itself or, where the tags and passages of another one or messages
    taken from the records fit better, under those, so that a wrong key of the format is seen as a difference and not as
    one long generation."""
    messages = messages_in(records, protocol, protocol.prompts.search)
    messages_found = {name: text for name, text in messages.items() if text}
    wordings = [protocol.prompts, protocol.prompts.model_copy(update=messages_found)]
    formats: dict[Any, Protocol] = {}
    for language in (protocol, *(Protocol(preset=name) for name in PRESETS)):
        formats.setdefault((language.tags, language.passage_format, language.no_hits), language)
    hybrids = [
        language.model_copy(update={"prompts": prompts, "reflection": protocol.reflection})
        for language in formats.values()
        for prompts in wordings
    ]
    read = [[take_apart(record.response, hybrid) for record in records] for hybrid in hybrids]
    return [max(readings, key=_quality) for readings in zip(*read, strict=True)]


def _quality(reading: Reading) -> tuple[int, int, int]:
    observations = [piece.observation for piece in reading.pieces if piece.observation]
    replies = sum((piece.reply is not None) + (piece.reflection is not None) for piece in reading.pieces)
    closed = sum(observation.is_closed for observation in observations)
    return replies, sum(len(observation.hits) for observation in observations), closed
