"""Whether the passages that an agent read say its answer.

A passage counts as it was found, title included, also where its observation was cut. Passages that an intervention
showed in the place of others are those that were read.
"""

from __future__ import annotations

from collections.abc import Iterable

from mrsearch.agent.ports import Hit
from mrsearch.agent.records import MetaEpisode
from mrsearch.agent.scoring import hit_holds_answer, normalize

WORDLESS = frozenset({"yes", "no"})
"""Answers that no passage says, whatever supports them."""


def is_wordless(answer: str) -> bool:
    """Whether an answer is one of `WORDLESS`."""
    return normalize(answer) in WORDLESS


def hits_say(hits: Iterable[Hit], answers: tuple[str, ...]) -> bool:
    """Whether one of these passages holds one of the answers."""
    return any(hit_holds_answer(hit, answers) for hit in hits)


def is_supported(meta: MetaEpisode, episode: int) -> bool:
    """Whether a passage that was read up to the answer of this episode, counted from 0, says the answer; False without
    an answer."""
    answer = meta.episodes[episode].answer
    return answer is not None and hits_say(_hits_read(meta, episode), (answer,))


def _hits_read(meta: MetaEpisode, episode: int) -> Iterable[Hit]:
    """The passages of the first prompt and of the episodes up to this one; of a parallel sample, its own alone."""
    yield from meta.prompt_hits or ()
    first = episode if meta.context == "independent" else 0
    for earlier in meta.episodes[first : episode + 1]:
        for turn in earlier.turns:
            yield from turn.hits
