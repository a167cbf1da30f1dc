"""Generation by a vLLM or sglang server, token in, token out."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_delay
from tenacity import wait_random_exponential as jitter

from mrsearch.agent.ports import DeadlineError, Finish, Generation, Sampling
from mrsearch.agent.protocol import StopRule
from mrsearch.config.serving import Engine
from mrsearch.policy.dialects import Answer, dialect

log = logging.getLogger(__name__)

LONGEST_PAUSE = 10.0
"""Seconds between two tries, at most."""


class _BusyError(RuntimeError):
    """The server is away or overloaded; another try may succeed."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class HttpPolicy:
    """Keeps at most `engine.requests` generations in flight; the others wait here, so a server is never flooded.

    The server's own stop strings save tokens; where a generation ends is decided by the `StopRule`, as everywhere. An
    answer that goes on after its end is cut there, and one that stopped too early is continued. Log-probabilities are
    the server's: those of the tempered distribution with sglang, and with vLLM where it was started by `serving`.
    """

    def __init__(self, url: str, tokenizer: Any, engine: Engine, model: str = "policy") -> None:
        """url: where the server listens; model: the name under which it serves."""
        assert engine.kind != "torch", engine.kind
        self.tokenizer, self.stop_rule = tokenizer, StopRule(tokenizer)
        self._url, self._engine = url.rstrip("/"), engine
        self._dialect = dialect(engine.kind, model)
        self._ends = sorted(self.stop_rule.end_of_turn)
        self._since: dict[str, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self, request_id: str) -> None:
        """A meta-episode begins: its deadline counts from its first generation."""
        self._since.pop(request_id, None)

    def detach(self, request_id: str) -> None:
        """A meta-episode ended."""
        self._since.pop(request_id, None)

    async def generate(self, context: Sequence[int], sampling: Sampling, request_id: str) -> Generation:
        """Sample one turn after `context`.

        Raises DeadlineError when the question's time is over, and ValueError when the server refuses the request,
        answers in another shape, or stays away longer than `patience_seconds`.
        """
        self._adopt()
        token_ids: list[int] = []
        logprobs: list[float] = []
        started = self._since.setdefault(request_id, time.monotonic())
        limit = self._engine.deadline_seconds
        try:
            async with asyncio.timeout(None if limit is None else started + limit - time.monotonic()), self._gate:
                while len(token_ids) < sampling.max_tokens:
                    body = self._dialect.body(
                        [*context, *token_ids], sampling, sampling.max_tokens - len(token_ids), self._ends
                    )
                    answer = await self._ask(body)
                    for token, logprob in zip(answer.token_ids, answer.logprobs, strict=True):
                        token_ids.append(token)
                        logprobs.append(logprob)
                        if self.stop_rule.is_end(token_ids):
                            return Generation(token_ids, logprobs, Finish.stop)
        except TimeoutError as error:
            raise DeadlineError(f"{request_id}: not answered within {limit:g} s") from error
        return Generation(token_ids[: sampling.max_tokens], logprobs[: sampling.max_tokens], Finish.length)

    async def aclose(self) -> None:
        """Close all connections."""
        if self._loop is asyncio.get_running_loop():
            await self._client.aclose()
        self._loop = None

    def _adopt(self) -> None:
        """Connections and semaphores belong to one event loop."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._gate = loop, asyncio.Semaphore(self._engine.requests)
            limits = httpx.Limits(max_connections=self._engine.requests)
            self._client = httpx.AsyncClient(timeout=self._engine.timeout_seconds, limits=limits)

    async def _ask(self, body: dict[str, Any]) -> Answer:
        tries = AsyncRetrying(
            retry=retry_if_exception_type(_BusyError),
            stop=stop_after_delay(self._engine.patience_seconds),
            wait=_pause,
            reraise=True,
        )
        try:
            answer: Answer = await tries(self._attempt, body)
        except _BusyError as error:
            raise ValueError(
                f"the generation server did not answer within {self._engine.patience_seconds:g} s: {error}"
            ) from error
        return answer

    async def _attempt(self, body: dict[str, Any]) -> Answer:
        try:
            response = await self._client.post(self._url + self._dialect.path, json=body)
        except httpx.HTTPError as error:
            raise _BusyError(f"{self._url}: {error!r}") from error
        if response.status_code in (408, 429) or response.status_code >= 500:
            after = response.headers.get("Retry-After", "")
            raise _BusyError(f"{self._url}: HTTP {response.status_code}", float(after) if after.isdigit() else 0.0)
        if response.status_code != 200:
            raise ValueError(f"{self._url}: HTTP {response.status_code}: {response.text[:500]}")
        try:
            answer = self._dialect.read(response.json())
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise ValueError(f"{self._url}: an answer without token ids or log-probabilities: {error!r}") from error
        if not answer.token_ids or len(answer.token_ids) != len(answer.logprobs):
            raise ValueError(
                f"{self._url}: {len(answer.token_ids)} tokens came with {len(answer.logprobs)} log-probabilities"
            )
        return answer


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, _BusyError) else 0.0
    return min(LONGEST_PAUSE, asked + jitter(multiplier=0.2, max=LONGEST_PAUSE)(state))
