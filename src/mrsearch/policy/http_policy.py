"""Generation by a vLLM or sglang server, token in, token out."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

from mrsearch.agent.chat import DEFAULT_TEMPLATE
from mrsearch.agent.ports import DeadlineError, Finish, Generation, Sampling
from mrsearch.agent.protocol import CLOSING_TAGS, StopRule
from mrsearch.config.chat import ChatTemplate
from mrsearch.config.generator import Generator
from mrsearch.policy.backends import SampledTokens, dialect
from mrsearch.policy.connection import Connection

BYTES_PER_CONTEXT_TOKEN = 16
"""Of an answer, at most: servers may repeat the context's token ids."""
BYTES_PER_NEW_TOKEN = 1024
"""Of an answer, at most: an id, a log-probability, and the token's text three times."""
BYTES_BESIDE = 1024 * 1024
"""Of an answer, at most, beside its tokens."""


class HttpPolicy:
    """Keeps at most `generator.requests` generations in flight; the others wait here, so a server is never flooded.

    The server's own stop strings save tokens; where a generation ends is decided by the `StopRule`, as everywhere. An
    answer that goes on after its end is cut there, and one that stopped too early is continued. Log-probabilities are
    the server's: those of the tempered distribution with sglang, and with vLLM where it was started by `serving`.
    """

    def __init__(
        self,
        url: str,
        tokenizer: Any,
        generator: Generator,
        model: str = "policy",
        *,
        key: str | None = None,
        vocabulary_size: int | None = None,
        check: Callable[[], None] | None = None,
        closing: Sequence[str] = CLOSING_TAGS,
        template: ChatTemplate = DEFAULT_TEMPLATE,
    ) -> None:
        """url: where the server listens; model: the name under which it serves; key: what it wants as bearer token.

        vocabulary_size: number of token ids that the model can generate; None takes the tokenizer's. check: raises
        where the server will not come back, so that nobody waits for it. closing: tags that end a generation.
        template: what the chat template is told.
        """
        assert generator.kind != "torch", generator.kind
        self.tokenizer, self.stop_rule = tokenizer, StopRule(tokenizer, closing, template)
        self._url, self._generator, self._key, self._check = url, generator, key, check
        self._dialect = dialect(generator.kind, model, generator.request_seeds, closing)
        size = vocabulary_size or len(tokenizer)
        self._read = functools.partial(self._dialect.read, vocabulary_size=size)
        self._ends = sorted(self.stop_rule.end_of_turn)
        self._since: dict[str, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: Connection | None = None

    def attach(self, request_id: str) -> None:
        """A meta-episode begins: its deadline counts from its first generation."""
        self._since.pop(request_id, None)

    def detach(self, request_id: str) -> None:
        """A meta-episode ended."""
        self._since.pop(request_id, None)

    async def generate(self, context: Sequence[int], sampling: Sampling, request_id: str) -> Generation:
        """Sample one turn after `context`.

        Raises DeadlineError when the question's time is over, and ValueError when the server refuses the request,
        answers in another shape, or has not completed the turn after `patience_seconds`.
        """
        self._adopt()
        started = self._since.setdefault(request_id, time.monotonic())
        limit = self._generator.deadline_seconds
        deadline = asyncio.timeout(None if limit is None else started + limit - time.monotonic())
        try:
            async with deadline, self._gate:
                return await self._turn(context, sampling)
        except TimeoutError as error:
            assert deadline.expired(), error
            raise DeadlineError(f"{request_id}: not answered within {limit:g} s") from error

    async def _turn(self, context: Sequence[int], sampling: Sampling) -> Generation:
        token_ids: list[int] = []
        logprobs: list[float] = []
        until = time.monotonic() + self._generator.patience_seconds
        while (earlier := len(token_ids)) < sampling.max_tokens:
            answer = await self._ask([*context, *token_ids], sampling, sampling.max_tokens - earlier, until)
            token_ids += answer.token_ids
            logprobs += answer.logprobs
            if (end := self.stop_rule.first_end(token_ids, earlier)) is not None:
                return Generation(token_ids[:end], logprobs[:end], Finish.stop)
        return Generation(token_ids[: sampling.max_tokens], logprobs[: sampling.max_tokens], Finish.length)

    async def _ask(self, context: list[int], sampling: Sampling, max_tokens: int, until: float) -> SampledTokens:
        max_bytes = BYTES_BESIDE + BYTES_PER_CONTEXT_TOKEN * len(context) + BYTES_PER_NEW_TOKEN * max_tokens
        body = self._dialect.body(context, sampling, max_tokens, self._ends)
        assert self._connection is not None, "_adopt comes first"
        return await self._connection.post(
            self._dialect.path, body, self._read, until=until, max_bytes=max_bytes, check=self._check
        )

    async def aclose(self) -> None:
        """Close all connections."""
        connection, self._connection = self._connection, None
        if connection is not None and self._loop is asyncio.get_running_loop():
            await connection.aclose()
        elif connection is not None:
            connection.abandon()
        self._loop = None

    def _adopt(self) -> None:
        """Connections and semaphores belong to one event loop."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            if self._connection is not None:
                self._connection.abandon()
            limits = self._generator
            self._loop, self._gate = loop, asyncio.Semaphore(limits.requests)
            self._connection = Connection(
                self._url, self._key, limits.requests, limits.timeout_seconds, limits.patience_seconds
            )
