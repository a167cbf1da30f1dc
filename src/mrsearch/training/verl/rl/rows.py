"""From a meta-episode to the rows that verl trains on, and the facts that travel with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mrsearch.agent.beliefs import GoldReply
from mrsearch.agent.meta_episode import training_sequences
from mrsearch.agent.reasoning import ReasoningCounts
from mrsearch.agent.records import MetaEpisode
from mrsearch.agent.rewards import EpisodeRewards
from mrsearch.agent.tally import MetaEpisodeCounts
from mrsearch.agent.turns import kept_turns, turn_episodes

if TYPE_CHECKING:
    from mrsearch.config.protocol import Protocol

FACTS = "mrsearch"
"""Key under which a row's facts lie in verl's `extra_fields`."""
QUESTION = "question"
"""Key of the question's id among what verl's validation reads of a trajectory."""
RECORD = "mrsearch_record"
"""Key of the whole meta-episode as a line of JSON: on the first row of those that may be kept, empty elsewhere."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the trainer needs to know of a row besides its tokens; plain values only."""

    question: str
    """The question's id."""
    rewards: list[float]
    """Reward of every episode that took place."""
    terms: dict[str, list[float]]
    """Its terms, as `EpisodeRewards` has them."""
    spans: list[list[int]]
    """[episode, first, end) of the response tokens of each episode, in order; they cover the response."""
    weight: float
    """Share of the meta-episode's trained tokens that this row trains; the rows of one sum to 1."""
    counts: MetaEpisodeCounts
    """Of the whole meta-episode."""
    reasoning: ReasoningCounts
    """Of the whole meta-episode."""
    turns: list[list[int]]
    """[turn, first, end) of the response tokens of each turn that this row trains, in order."""
    turn_episodes: list[int]
    """Episode of each turn of the whole meta-episode."""
    unmasked: list[int]
    """Whether each is trained on when abnormal turns are masked."""
    gold: dict[str, Any] | None = None
    """The `GoldReply` by whose probability turns are credited."""
    search_retries: int = 0
    """Tries again of the process's retriever client since the meta-episode before this one ended."""


@dataclass(frozen=True, slots=True)
class LoopRow:
    """One sequence for verl: a prompt, and a response of length T with its mask and log-probabilities."""

    prompt_ids: list[int]
    response_ids: list[int]
    response_mask: list[int]
    """1 on the tokens that this row trains."""
    logprobs: list[float]
    facts: dict[str, Any]
    """`Facts` as nested mappings."""


def loop_rows(
    meta: MetaEpisode,
    protocol: Protocol,
    rewarded: EpisodeRewards,
    search_retries: int = 0,
    gold: GoldReply | None = None,
) -> list[LoopRow]:
    """The rows of a meta-episode: one for context `full`, one per episode for `previous`; none where nothing was
    generated."""
    sequences = [sequence for sequence in training_sequences(meta, protocol) if any(sequence.loss_mask)]
    total = sum(sum(sequence.loss_mask) for sequence in sequences)
    counts, reasoning = MetaEpisodeCounts.of(meta), ReasoningCounts.of(meta, protocol.tags)
    rows = []
    for sequence in sequences:
        start = meta.prompt_length
        facts = Facts(
            question=meta.question.id,
            rewards=rewarded.values,
            terms=rewarded.terms,
            spans=spans(sequence.episode_ids[start:]),
            weight=sum(sequence.loss_mask) / total,
            counts=counts,
            reasoning=reasoning,
            turns=[run for run in spans(sequence.turn_ids[start:]) if run[0] >= 0],
            turn_episodes=turn_episodes(meta),
            unmasked=kept_turns(meta),
            gold=asdict(gold) if gold else None,
            search_retries=search_retries,
        )
        rows.append(
            LoopRow(
                prompt_ids=sequence.token_ids[:start],
                response_ids=sequence.token_ids[start:],
                response_mask=sequence.loss_mask[start:],
                logprobs=sequence.logprobs[start:],
                facts=asdict(facts),
            )
        )
    return rows


def spans(episode_ids: Sequence[int]) -> list[list[int]]:
    """Runs of equal values as [value, first, end).

    >>> spans([0, 0, 1])
    [[0, 0, 2], [1, 2, 3]]
    """
    runs: list[list[int]] = []
    for position, episode in enumerate(episode_ids):
        if runs and runs[-1][0] == episode:
            runs[-1][2] = position + 1
        else:
            runs.append([episode, position, position + 1])
    return runs
