"""Which key of a protocol likely causes a difference."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from mrsearch.agent.recordings.difference import Difference
from mrsearch.agent.recordings.file import Recorded
from mrsearch.agent.recordings.keys import likely_values, with_value
from mrsearch.agent.recordings.reading import Reading
from mrsearch.agent.recordings.replay import Replay

Read = tuple[Recorded, Reading]
COMPARED_CHARACTERS = 8
"""Characters at a difference by which two records differ in the same way."""
SAMPLED_RECORDS = 10
"""Records of either verdict that a cause is tried on."""


def with_causes(
    differences: Sequence[Difference | None], pairs: Sequence[Read], replay: Replay
) -> list[Difference | None]:
    """The differences with their likely causes as key; differences that look alike have one cause."""
    judged = list(zip(pairs, differences, strict=True))
    sample = [pair for pair, difference in judged if difference][:SAMPLED_RECORDS]
    sample += [pair for pair, difference in judged if not difference][:SAMPLED_RECORDS]
    variants = _variants(replay) if any(differences) else []
    causes, explained = dict[tuple[str, ...], str](), list[Difference | None]()
    for pair, difference in judged:
        if difference is None:
            explained.append(None)
            continue
        compared = difference.expected[:COMPARED_CHARACTERS], difference.recorded[:COMPARED_CHARACTERS]
        signature = (difference.key, *compared)
        if signature not in causes:
            causes[signature] = _cause(difference, pair, sample, variants)
        explained.append(replace(difference, key=causes[signature]))
    return explained


def _variants(replay: Replay) -> list[tuple[str, Replay]]:
    """The protocol with one key changed at a time, by key, as far as that is a protocol."""
    variants = []
    for path, value in (*likely_values(replay.protocol), *replay.habits.budgets):
        with suppress(ValueError):
            variants.append((path, replace(replay, protocol=with_value(replay.protocol, path, value))))
    return variants


def _cause(difference: Difference, pair: Read, sample: Sequence[Read], variants: Sequence[tuple[str, Replay]]) -> str:
    """The one key whose change makes this record equal, and most of the sample; among equals, and where there is none,
    the key that the expected text came from."""
    best, key = (0, False), difference.key
    for path, variant in variants:
        if variant.difference(*pair) is not None:
            continue
        worth = (sum(variant.difference(*sampled) is None for sampled in sample), path == difference.key)
        if worth > best:
            best, key = worth, path
    return key
