"""A generation server on CPU that speaks vLLM's and sglang's language, for tests of the client.

It serves a real checkpoint. Where a generation ends it decides as those servers do: by stop strings in the decoded text
and by token ids, without this project's stop rule.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response

from mrsearch.agent.ports import Finish, Generation, Sampling
from mrsearch.policy.torch_policy import TorchPolicy


class TextStops:
    """Ends at a token id, or where a stop string shows in the text."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.late = tokenizer, 0
        self.candidates = frozenset(range(len(tokenizer)))
        self.ends: set[int] = set()
        self.strings: tuple[str, ...] = ()

    def is_end(self, token_ids: list[int]) -> bool:
        shown = token_ids[: len(token_ids) - self.late]
        text = self.tokenizer.decode(shown[-24:], skip_special_tokens=False)
        return token_ids[-1] in self.ends or any(string in text for string in self.strings)


def build(folder: Path) -> FastAPI:
    policy = TorchPolicy.load(folder)
    stops = policy.stop_rule = TextStops(policy.tokenizer)
    policy._candidates[:] = True
    app = FastAPI()
    key = os.environ.get("VLLM_API_KEY")
    state: dict[str, Any] = {"busy": 0, "delay": 0.0, "running": 0, "most": 0, "asked": 0}

    async def generate(context: list[int], sampling: Sampling, raw: dict[str, Any]) -> Generation | Response:
        state["asked"] += 1
        if state["busy"] > 0:
            state["busy"] -= 1
            return Response(status_code=503, headers={"Retry-After": "0"})
        stops.ends, stops.strings = set(raw["stop_token_ids"]), tuple(raw["stop"])
        state["running"] += 1
        state["most"] = max(state["most"], state["running"])
        try:
            await asyncio.sleep(state["delay"])
            return await policy.generate(context, sampling, f"request {state['asked']}")
        finally:
            state["running"] -= 1

    @app.middleware("http")
    async def guard(request: Request, go_on: Any) -> Response:
        """As vLLM: all but health (and, here, the tests' own door) wants the key."""
        known = key is None or request.headers.get("Authorization") == f"Bearer {key}"
        if known or request.url.path in ("/health", "/behave"):
            return await go_on(request)
        return Response(status_code=401)

    @app.get("/health")
    def health() -> str:
        return "well"

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        return {"data": [{"id": "policy"}]}

    @app.post("/behave")
    async def behave(request: Request) -> dict[str, Any]:
        """Set `late` (tokens beyond a stop string), `busy` (requests answered with 503) and `delay` (seconds)."""
        asked = {"late": 0, "busy": 0, "delay": 0.0, "most": 0} | await request.json()
        before = dict(state)
        stops.late = asked.pop("late")
        state.update(asked)
        return before

    @app.post("/v1/completions")
    async def completions(request: Request) -> Any:
        raw = await request.json()
        assert raw["return_token_ids"] and raw["include_stop_str_in_output"] and not raw["skip_special_tokens"]
        made = await generate(
            raw["prompt"], Sampling(raw["max_tokens"], raw["temperature"], raw["top_p"], raw.get("seed", 0)), raw
        )
        if isinstance(made, Response):
            return made
        choice = {"token_ids": made.token_ids, "logprobs": {"token_logprobs": made.logprobs}, "text": "unused"}
        return {"choices": [{**choice, "finish_reason": made.finish.value}]}

    @app.post("/generate")
    async def native(request: Request) -> Any:
        raw = await request.json()
        asked = raw["sampling_params"]
        assert raw["return_logprob"] and asked["no_stop_trim"] and not asked["skip_special_tokens"]
        sampling = Sampling(
            asked["max_new_tokens"], asked["temperature"], asked["top_p"], asked.get("sampling_seed", 0)
        )
        made = await generate(raw["input_ids"], sampling, asked)
        if isinstance(made, Response):
            return made
        tokens = [[value, token, None] for value, token in zip(made.logprobs, made.token_ids, strict=True)]
        reason = {"type": "length" if made.finish is Finish.length else "stop"}
        return {"output_ids": made.token_ids, "meta_info": {"output_token_logprobs": tokens, "finish_reason": reason}}

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    uvicorn.run(build(options.model), host="127.0.0.1", port=options.port, log_level="warning")
