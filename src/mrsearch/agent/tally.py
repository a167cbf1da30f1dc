"""Counting what must not happen too often while meta-episodes are made for later use."""

from __future__ import annotations

from dataclasses import dataclass

from mrsearch.agent.records import ActionKind, MetaEpisode, StopReason, Turn
from mrsearch.config import Study


def searches(record: MetaEpisode) -> list[int]:
    """Searches of each episode that ran; the one behind the first prompt counts in the first."""
    counts = [sum(_searched(turn) for turn in episode.turns) for episode in record.episodes]
    if counts and record.prompt_hits is not None:
        counts[0] += 1
    return counts


@dataclass(slots=True)
class Tally:
    """Counts of the meta-episodes added so far."""

    records: int = 0
    searches: int = 0
    """Those that were tried."""
    search_failures: int = 0
    deadlines: int = 0
    """Meta-episodes that ran out of time."""

    def add(self, record: MetaEpisode) -> None:
        """Count one more."""
        self.records += 1
        self.searches += sum(searches(record))
        self.search_failures += record.search_failures
        self.deadlines += record.stop is StopReason.deadline

    def check(self, study: Study, where: str) -> None:
        """ValueError where more searches failed than `retrieval.client.max_failure_rate` allows, or where more
        questions ended with `deadline` than `evaluation.engine.max_deadline_rate` allows."""
        # A search that failed before the first episode is a failure alone.
        attempts = max(self.searches, self.search_failures)
        allowed = study.retrieval.client.max_failure_rate
        if self.search_failures > allowed * attempts:
            raise ValueError(
                f"{where}: {self.search_failures} of {attempts} searches failed, more than "
                f"retrieval.client.max_failure_rate ({allowed}) allows: look at the retriever's log, then run again"
            )
        allowed = study.evaluation.engine.max_deadline_rate
        if self.deadlines > allowed * self.records:
            raise ValueError(
                f"{where}: {self.deadlines} of {self.records} questions ran out of time, more than "
                f"evaluation.engine.max_deadline_rate ({allowed}) allows: raise evaluation.engine.deadline_seconds "
                "or lower evaluation.engine.requests"
            )


def _searched(turn: Turn) -> bool:
    """Whether the turn searched, or its prompt held passages that the procedure had searched for (rag)."""
    return turn.action is ActionKind.search or bool(turn.hits)
