"""The agent's `Policy` over verl's server manager: token in, token out, cut on token ids."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Protocol

from mrsearch.agent.ports import Finish, Generation, Sampling
from mrsearch.agent.protocol import CLOSING_TAGS, StopRule
from mrsearch.policy.backends import checked

EMPTY_ANSWERS = 3
"""Empty answers in a row after which a server is given up."""


class Servers(Protocol):
    """What is used of `verl.workers.rollout.llm_server.LLMServerClient`."""

    async def generate(
        self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any], **kwargs: Any
    ) -> Any: ...


class ServerPolicy:
    """One meta-episode's view of the servers: all its turns go to one of them, where the prefix is cached.

    The servers' own stop strings save tokens; where a generation ends is decided by the `StopRule`, as everywhere. An
    answer that goes on after its end is cut there, and one that stopped too early is continued.
    """

    def __init__(
        self, servers: Servers, stop_rule: StopRule, rollout: str, sticky_id: str, seeded: bool = False
    ) -> None:
        """rollout: name of verl's rollout; sticky_id: what the load balancer routes by; seeded: vLLM is sent seeds."""
        self._servers, self._stop_rule, self._sticky_id = servers, stop_rule, sticky_id
        self._extra = stop_parameters(rollout, sorted(stop_rule.end_of_turn), stop_rule.closing)
        # transformers, of rehearsals, needs a seed; sglang's would need a slower, deterministic sampler.
        self._seeded = rollout == "transformers" or (rollout == "vllm" and seeded)
        self.versions: dict[str, Any] = {}
        """Steps of the weights that generated: global_steps, min_global_steps, max_global_steps."""

    async def generate(self, context: Sequence[int], sampling: Sampling, request_id: str) -> Generation:
        """Sample one turn after `context`. RuntimeError where the server answers without tokens or log-probabilities;
        errors of the server itself pass through."""
        token_ids: list[int] = []
        logprobs: list[float] = []
        empty = 0
        while (earlier := len(token_ids)) < sampling.max_tokens:
            answer = await self._servers.generate(
                self._sticky_id,
                prompt_ids=[*context, *token_ids],
                sampling_params=self._parameters(sampling, earlier),
            )
            self._note(answer.extra_fields)
            if not answer.token_ids:
                empty += 1
                if empty == EMPTY_ANSWERS:
                    raise RuntimeError(f"{request_id}: {empty} answers without tokens ({answer.stop_reason})")
                continue
            if answer.log_probs is None:
                raise RuntimeError(f"{request_id}: {len(answer.token_ids)} tokens came without log-probabilities")
            try:  # the model's vocabulary is not known here
                sampled = checked(list(answer.token_ids), list(answer.log_probs), sys.maxsize)
            except ValueError as error:
                raise RuntimeError(f"{request_id}: {error}") from error
            token_ids += sampled.token_ids
            logprobs += sampled.logprobs
            if (end := self._stop_rule.first_end(token_ids, earlier)) is not None:
                return Generation(token_ids[:end], logprobs[:end], Finish.stop)
        return Generation(token_ids[: sampling.max_tokens], logprobs[: sampling.max_tokens], Finish.length)

    def _parameters(self, sampling: Sampling, done: int) -> dict[str, Any]:
        parameters: dict[str, Any] = {
            "max_tokens": sampling.max_tokens - done,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "logprobs": True,
            **self._extra,
        }
        if self._seeded:
            parameters["seed"] = (sampling.seed + done) % 2**63
        return parameters

    def _note(self, fields: dict[str, Any]) -> None:
        oldest, newest = fields.get("min_global_steps"), fields.get("max_global_steps")
        if oldest is None or newest is None:
            return
        self.versions = {
            "global_steps": newest,
            "min_global_steps": min(oldest, self.versions.get("min_global_steps", oldest)),
            "max_global_steps": max(newest, self.versions.get("max_global_steps", newest)),
        }


def stop_parameters(rollout: str, ends: Sequence[int], closing: Sequence[str] = CLOSING_TAGS) -> dict[str, Any]:
    """How a server is told where to stop; `ends` are the token ids that end a turn, `closing` the closing tags."""
    if rollout == "vllm":
        return {
            "stop": list(closing),
            "stop_token_ids": list(ends),
            "include_stop_str_in_output": True,
            "skip_special_tokens": False,
        }
    if rollout == "sglang":
        return {
            "stop": list(closing),
            "stop_token_ids": list(ends),
            "no_stop_trim": True,
            "skip_special_tokens": False,
        }
    return {}
