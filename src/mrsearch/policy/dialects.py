"""How vLLM and sglang are asked for tokens, and how they answer: token in, token out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from mrsearch.agent.ports import Sampling

STOPS = ("</search>", "</answer>")
HEALTH = {"vllm": "/health", "sglang": "/health"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server generated."""

    token_ids: list[int]
    logprobs: list[float]
    length: bool
    """Whether the token budget ended it."""


class Dialect(Protocol):
    """One server's language."""

    path: str

    def body(self, context: Sequence[int], sampling: Sampling, max_tokens: int, ends: Sequence[int]) -> dict[str, Any]:
        """The request; `ends` are token ids that end a generation."""
        ...

    def read(self, answer: dict[str, Any]) -> Answer:
        """The answer; KeyError, TypeError or IndexError where it has another shape."""
        ...


class Vllm:
    """The completions endpoint of vLLM's OpenAI-compatible server, with token ids both ways (vLLM 0.10.2 and later)."""

    path = "/v1/completions"

    def __init__(self, model: str) -> None:
        self.model = model

    def body(self, context: Sequence[int], sampling: Sampling, max_tokens: int, ends: Sequence[int]) -> dict[str, Any]:
        return {
            "model": self.model,
            "prompt": list(context),
            "max_tokens": max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
            "stop": list(STOPS),
            "stop_token_ids": list(ends),
            "include_stop_str_in_output": True,
            "skip_special_tokens": False,
            "return_token_ids": True,
            "logprobs": 1,
        }

    def read(self, answer: dict[str, Any]) -> Answer:
        choice = answer["choices"][0]
        return Answer(
            list(choice["token_ids"]), list(choice["logprobs"]["token_logprobs"]), choice["finish_reason"] == "length"
        )


class Sglang:
    """The native generate endpoint of sglang."""

    path = "/generate"

    def body(self, context: Sequence[int], sampling: Sampling, max_tokens: int, ends: Sequence[int]) -> dict[str, Any]:
        return {
            "input_ids": list(context),
            "sampling_params": {
                "max_new_tokens": max_tokens,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "sampling_seed": sampling.seed,
                "stop": list(STOPS),
                "stop_token_ids": list(ends),
                "skip_special_tokens": False,
                "no_stop_trim": True,
            },
            "return_logprob": True,
        }

    def read(self, answer: dict[str, Any]) -> Answer:
        facts = answer["meta_info"]
        tokens = facts["output_token_logprobs"]
        return Answer(
            [int(token) for _, token, *_ in tokens],
            [float(logprob) for logprob, *_ in tokens],
            facts["finish_reason"]["type"] == "length",
        )


def dialect(kind: Literal["vllm", "sglang"], model: str) -> Dialect:
    """The language of a kind of server; `model` is the name under which it serves."""
    return Vllm(model) if kind == "vllm" else Sglang()
