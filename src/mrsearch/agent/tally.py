"""What meta-episodes took: the one count of searches, tokens and failures, for evaluations and for every trainer."""

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


@dataclass(frozen=True, slots=True)
class MetaEpisodeCounts:
    """What one meta-episode took: plain values, which can travel where the meta-episode does not."""

    turns: int
    searches: int
    """Those that were tried, also the one that failed before the first generation."""
    search_failures: int
    invalid_actions: int
    generated_tokens: int
    """Tokens of the transcript that the policy generated."""
    tokens: int
    """Tokens of the whole transcript."""
    logprob: float
    """Sum of the sampled log-probabilities."""
    stop: str
    """Why the meta-episode ended."""

    @classmethod
    def of(cls, record: MetaEpisode) -> MetaEpisodeCounts:
        """The counts of a meta-episode."""
        turns = [turn for episode in record.episodes for turn in episode.turns]
        return cls(
            turns=len(turns),
            # Without an episode, what failed is the search behind the first prompt.
            searches=sum(searches(record)) if record.episodes else record.search_failures,
            search_failures=record.search_failures,
            invalid_actions=sum(turn.action is ActionKind.invalid for turn in turns),
            generated_tokens=sum(record.loss_mask),
            tokens=len(record.token_ids),
            logprob=sum(record.logprobs),
            stop=record.stop.value,
        )


@dataclass(slots=True)
class Tally:
    """Sums over the meta-episodes added so far."""

    records: int = 0
    tokens: int = 0
    """Tokens of whole transcripts."""
    searches: int = 0
    """Those that were tried."""
    search_failures: int = 0
    deadlines: int = 0
    """Meta-episodes that ran out of time."""

    def add(self, counts: MetaEpisodeCounts) -> None:
        """Add one more."""
        self.records += 1
        self.tokens += counts.tokens
        self.searches += counts.searches
        self.search_failures += counts.search_failures
        self.deadlines += counts.stop == StopReason.deadline

    def check_searches(self, study: Study, where: str) -> None:
        """ValueError where more searches failed than `retrieval.client.max_failure_rate` allows."""
        allowed = study.retrieval.client.max_failure_rate
        if self.search_failures > allowed * self.searches:
            raise ValueError(
                f"{where}: {self.search_failures} of {self.searches} searches failed, more than "
                f"retrieval.client.max_failure_rate ({allowed}) allows: look at the retriever's log, then run again"
            )

    def check(self, study: Study, where: str) -> None:
        """`check_searches`, and ValueError where more questions ended with `deadline` than
        `evaluation.generator.max_deadline_rate` allows."""
        self.check_searches(study, where)
        allowed = study.evaluation.generator.max_deadline_rate
        if self.deadlines > allowed * self.records:
            raise ValueError(
                f"{where}: {self.deadlines} of {self.records} questions ran out of time, more than "
                f"evaluation.generator.max_deadline_rate ({allowed}) allows: raise "
                "evaluation.generator.deadline_seconds or lower evaluation.generator.requests"
            )


def _searched(turn: Turn) -> bool:
    """Whether the turn searched, or its prompt held passages that the procedure had searched for (rag)."""
    return turn.action is ActionKind.search or bool(turn.hits)
