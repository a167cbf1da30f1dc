"""What a meta-episode leaves behind, for training, evaluation, report and viewer alike; `record_files` keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mrsearch.agent.ports import Hit


class ActionKind(StrEnum):
    """What a generation asked for."""

    search = "search"
    answer = "answer"
    invalid = "invalid"
    summary = "summary"
    """Nothing: it says what of its episode goes on to the next."""


class StopReason(StrEnum):
    """Why an episode or a meta-episode ended."""

    answered = "answered"
    """The episode gave an answer; of a meta-episode: its last episode did."""
    turn_limit = "turn_limit"
    """The turn budget was spent without an answer."""
    context_limit = "context_limit"
    """The context was full; no later episode exists."""
    search_failed = "search_failed"
    """The search engine failed for good; no later episode exists."""
    deadline = "deadline"
    """The question's time was over; no later episode exists."""
    agreed = "agreed"
    """Of a meta-episode: its last answers agreed, so that no later episode was needed."""
    confident = "confident"
    """Of a meta-episode: the policy was sure of its last answer, so that no later episode was needed."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its gold answers."""

    id: str
    question: str
    golden_answers: tuple[str, ...]
    benchmark: str = ""


@dataclass(slots=True)
class Turn:
    """One generation and, if it was a search, the observation that answers it. Offsets index the
    meta-episode's tokens."""

    start: int
    """First token of the generation."""
    end: int
    """One past its last token."""
    text: str
    """The generation, decoded."""
    action: ActionKind
    content: str
    """Query, answer or summary; empty for an invalid action."""
    observation: str = ""
    """Text that came back: passages, or the hint after an invalid action."""
    hits: list[Hit] = field(default_factory=list)
    aside_tokens: int = 0
    """Tokens generated for this turn that are not part of the transcript: what `ircot` said beyond its sentence, and
    `search_o1`'s reading of the passages."""


@dataclass(slots=True)
class Episode:
    """Turns up to an answer, or until a budget is spent."""

    turns: list[Turn] = field(default_factory=list)
    answer: str | None = None
    stop: StopReason = StopReason.turn_limit


@dataclass(slots=True)
class MetaEpisode:
    """Episodes joined by reflection prompts in one context.

    `token_ids`, `loss_mask`, `episode_ids` and `logprobs` have equal lengths T: the whole transcript, what the policy
    generated (1), the episode of each token (the prompt belongs to 0, a reflection prompt to the episode before it)
    and the sampled log-probabilities (0.0 where the policy generated nothing).
    """

    question: Question
    token_ids: list[int]
    loss_mask: list[int]
    episode_ids: list[int]
    logprobs: list[float]
    prompt_length: int
    """Tokens of the first prompt."""
    episodes: list[Episode]
    stop: StopReason
    context: str = "full"
    """Context policy: full, previous, summary or independent."""
    episode_starts: list[int] = field(default_factory=list)
    """Where each episode's own part begins: 0, then the first token of each reflection prompt."""
    search_failures: int = 0
    prompt_hits: list[Hit] | None = None
    """What the search behind the first prompt found, where no turn shows it: `ircot`'s, and `rag`'s where it found
    nothing. None where there was no such search."""
    blanked_episode: int | None = None
    """The episode, from 0, whose turns later ones did not see, by an intervention."""
    tags: dict[str, Any] = field(default_factory=dict)
    """Study, model, method, seed, decoding, scores: whatever the writer of a file adds."""

    def visible(self, episode: int) -> list[tuple[int, int]]:
        """Ranges of `token_ids` that stand in the context when `episode` begins, in order, up to its own part."""
        start = self.episode_starts[episode]
        if self.blanked_episode is not None and episode > self.blanked_episode:
            return [(0, self.seen_until_blank), (self.episode_starts[self.blanked_episode + 1], start)]
        if self.context == "independent" and episode:
            return [(0, self.prompt_length)]
        if self.context == "summary" and episode:
            summary = self.episodes[episode - 1].turns[-1]
            return [(0, self.prompt_length), (summary.start, summary.end)]
        if self.context == "full" or episode <= 1:
            return [(0, start)]
        return [(0, self.prompt_length), (self.episode_starts[episode - 1], start)]

    @property
    def seen_until_blank(self) -> int:
        """How many tokens later episodes see up to the blanked one's first turn, its reflection prompt included."""
        assert self.blanked_episode is not None, "no episode is blanked"
        return self.episodes[self.blanked_episode].turns[0].start
