"""How vLLM and sglang are asked for tokens, and how they answer: token in, token out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from mrsearch.agent.ports import Sampling
from mrsearch.agent.protocol import CLOSING_TAGS

HEALTH = {"vllm": "/health", "sglang": "/health"}
LOWEST_LOGPROB = -1000.0
"""Below it no sampled token's log-probability lies; vLLM writes -9999 for minus infinity."""
HIGHEST_LOGPROB = 1e-3
"""Rounding may put a certain token's log-probability above 0, never further."""


@dataclass(frozen=True, slots=True)
class SampledTokens:
    """What a server generated: token ids and their log-probabilities, equally many and at least one."""

    token_ids: list[int]
    logprobs: list[float]


class Dialect(Protocol):
    """One server's language."""

    path: str

    def body(self, context: list[int], sampling: Sampling, max_tokens: int, ends: Sequence[int]) -> dict[str, Any]:
        """The request; `ends` are token ids that end a generation."""
        ...

    def read(self, answer: Any, vocabulary_size: int) -> SampledTokens:
        """The answer; ValueError, KeyError, TypeError or IndexError where it has another shape."""
        ...


class Vllm:
    """The completions endpoint of vLLM's OpenAI-compatible server, with token ids both ways (vLLM 0.10.2 and later)."""

    path = "/v1/completions"

    def __init__(self, model: str, seeded: bool, closing: Sequence[str] = CLOSING_TAGS) -> None:
        self.model, self.seeded, self.closing = model, seeded, list(closing)

    def body(self, context: list[int], sampling: Sampling, max_tokens: int, ends: Sequence[int]) -> dict[str, Any]:
        return {
            "model": self.model,
            "prompt": context,
            "max_tokens": max_tokens,
            **_distribution(sampling, top_k=0),
            **({"seed": sampling.seed} if self.seeded else {}),
            "stop": self.closing,
            "stop_token_ids": list(ends),
            "include_stop_str_in_output": True,
            "skip_special_tokens": False,
            "return_token_ids": True,
            "logprobs": 0,  # of the sampled token alone
        }

    def read(self, answer: Any, vocabulary_size: int) -> SampledTokens:
        choice = answer["choices"][0]
        return checked(choice["token_ids"], choice["logprobs"]["token_logprobs"], vocabulary_size)


class Sglang:
    """The native generate endpoint of sglang."""

    path = "/generate"

    def __init__(self, seeded: bool, closing: Sequence[str] = CLOSING_TAGS) -> None:
        self.seeded, self.closing = seeded, list(closing)

    def body(self, context: list[int], sampling: Sampling, max_tokens: int, ends: Sequence[int]) -> dict[str, Any]:
        return {
            "input_ids": context,
            "sampling_params": {
                "max_new_tokens": max_tokens,
                **_distribution(sampling, top_k=-1),
                **({"sampling_seed": sampling.seed} if self.seeded else {}),
                "stop": self.closing,
                "stop_token_ids": list(ends),
                "skip_special_tokens": False,
                "no_stop_trim": True,
            },
            "return_logprob": True,
        }

    def read(self, answer: Any, vocabulary_size: int) -> SampledTokens:
        tokens = answer["meta_info"]["output_token_logprobs"]
        return checked([token for _, token, *_ in tokens], [logprob for logprob, *_ in tokens], vocabulary_size)


def dialect(
    kind: Literal["vllm", "sglang"], model: str, seeded: bool = False, closing: Sequence[str] = CLOSING_TAGS
) -> Dialect:
    """The language of a kind of server; `model` is the name under which it serves, `seeded` sends each generation's
    seed; `closing` are its stop strings."""
    return Vllm(model, seeded, closing) if kind == "vllm" else Sglang(seeded, closing)


def checked(token_ids: Any, logprobs: Any, vocabulary_size: int) -> SampledTokens:
    """What a server sent, as an `SampledTokens`.

    Raises ValueError where it is not at least one token id below `vocabulary_size` and as many log-probabilities that
    a sampled token can have.
    """
    if not isinstance(token_ids, list) or not isinstance(logprobs, list):
        raise ValueError(f"not lists of token ids and log-probabilities: {token_ids!r:.50} and {logprobs!r:.50}")
    if not token_ids or len(token_ids) != len(logprobs):
        raise ValueError(f"{len(token_ids)} tokens came with {len(logprobs)} log-probabilities")
    # Whole lists at a time: this runs for every generation of an evaluation.
    if set(map(type, token_ids)) != {int} or min(token_ids) < 0 or max(token_ids) >= vocabulary_size:
        wrong = next(
            token_id for token_id in token_ids if type(token_id) is not int or not 0 <= token_id < vocabulary_size
        )
        raise ValueError(f"{wrong!r:.50} is no token id of a vocabulary of {vocabulary_size}")
    kinds = set(map(type, logprobs))
    if not kinds <= {float, int} or not _are_logprobs(logprobs):
        wrong = next(logprob for logprob in logprobs if not _is_logprob(logprob))
        raise ValueError(f"{wrong!r:.50} is no log-probability of a sampled token")
    return SampledTokens(token_ids, logprobs if kinds == {float} else list(map(float, logprobs)))


def _are_logprobs(numbers: list[float]) -> bool:
    """Whether all are; a NaN among them makes the sum one."""
    return min(numbers) >= LOWEST_LOGPROB and max(numbers) <= HIGHEST_LOGPROB and not math.isnan(sum(numbers))


def _is_logprob(value: Any) -> bool:
    return type(value) in (float, int) and LOWEST_LOGPROB <= value <= HIGHEST_LOGPROB


def _distribution(sampling: Sampling, top_k: int) -> dict[str, Any]:
    """What shapes the distribution, sent whole: what a request leaves out, a server takes from the model's own
    `generation_config.json`. top_k: the server's word for no limit."""
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": top_k,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
    }
