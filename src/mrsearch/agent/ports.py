"""The two ports of an agent: who generates tokens, and who searches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable


class Finish(StrEnum):
    """Why a generation ended."""

    stop = "stop"
    """A closing action tag or the end-of-turn token was generated."""
    length = "length"
    """The token budget was spent."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one generation samples; the seed and the request id fix its random numbers."""

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Generation:
    """Sampled tokens with their log-probabilities under the tempered distribution (greedy: temperature 1)."""

    token_ids: list[int]
    logprobs: list[float]
    finish: Finish

    @classmethod
    def unsampled(cls, token_ids: Sequence[int], sampling: Sampling) -> Generation:
        """Tokens that nobody sampled, cut where the token budget ends; their log-probabilities stand as 0."""
        sampled = list(token_ids[: sampling.max_tokens])
        return cls(sampled, [0.0] * len(sampled), Finish.stop if len(sampled) == len(token_ids) else Finish.length)


class DeadlineError(TimeoutError):
    """A question's time is over."""


class Policy(Protocol):
    """Generates tokens. A generation ends with the token that completes the first `</search>` or `</answer>`, with the
    end-of-turn token, or after `sampling.max_tokens`. Raises DeadlineError where the question's time is over."""

    async def generate(self, context: Sequence[int], sampling: Sampling, request_id: str) -> Generation: ...


@runtime_checkable
class BatchingPolicy(Policy, Protocol):
    """A policy that generates for many meta-episodes at once. Between `attach` and `detach` it may wait until every
    attached meta-episode has asked for its next generation, so that batches do not depend on timing."""

    def attach(self, request_id: str) -> None: ...

    def detach(self, request_id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Passage:
    """One passage of the corpus."""

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A retrieved passage and its score (larger is better)."""

    passage: Passage
    score: float


class SearchError(RuntimeError):
    """A search that failed for good: the engine's patience is spent."""


class SearchEngine(Protocol):
    """Finds passages. Raises SearchError when it cannot answer."""

    async def search(self, query: str, topk: int) -> list[Hit]: ...
