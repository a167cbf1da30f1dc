"""Whether the agent's own searches brought a gold answer.

Hits are counted as the retriever's report counts them (`scoring.holds_answer`), so that the two can be compared.
Libraries of rank metrics need judged passages; here a passage counts by what it says, and a question by any of its
searches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from mrsearch.agent.ports import Hit
from mrsearch.agent.records import MetaEpisode
from mrsearch.agent.scoring import hit_holds_answer


def first_hit(record: MetaEpisode) -> float:
    """The best rank, from 1, at which a search of the meta-episode found a passage that holds a gold answer; infinity
    where none did."""
    golds = tuple(record.question.golden_answers)
    return min((_rank(hits, golds) for hits in _search_results(record)), default=math.inf)


def _search_results(record: MetaEpisode) -> Iterator[Sequence[Hit]]:
    """The passages of each search."""
    yield record.prompt_hits or ()
    yield from (turn.hits for episode in record.episodes for turn in episode.turns)


def _rank(hits: Sequence[Hit], golds: tuple[str, ...]) -> float:
    return next((rank for rank, hit in enumerate(hits, 1) if hit_holds_answer(hit, golds)), math.inf)
