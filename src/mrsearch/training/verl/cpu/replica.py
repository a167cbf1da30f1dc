"""A generation server of verl's kind that is our own `TorchPolicy` in a Ray actor."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import ray
import torch
from verl.workers.rollout.base import BaseRollout
from verl.workers.rollout.replica import RolloutReplica, TokenOutput

from mrsearch.agent.ports import Sampling
from mrsearch.policy.torch_policy import TorchPolicy

QUIET_SECONDS = 0.02
"""How long no request may have come before those that wait are generated together."""


def _name(replica: int) -> str:
    return f"transformers_server_{replica}"


class TransformersServer:
    """The methods that verl calls on a server. Requests that come one upon the other are one batch: alone, each would
    drop what the policy keeps of the others' contexts."""

    def __init__(self, model: str, max_model_len: int) -> None:
        torch.set_num_threads(1)
        self._policy, self._max_model_len = TorchPolicy.load(Path(model)), max_model_len
        self._version: int | None = None
        self._awake, self._admitted = asyncio.Event(), asyncio.Event()
        self._awake.set()
        self._admitted.set()
        self._running = 0
        self._requests = 0
        self._quiet: asyncio.Task[None] | None = None

    async def generate(
        self, prompt_ids: list[int], sampling_params: dict[str, Any], request_id: str, **_: Any
    ) -> TokenOutput:
        """Sample a turn; it ends as `Policy` says. It waits while the server sleeps or admits none."""
        while not (self._awake.is_set() and self._admitted.is_set()):
            await self._awake.wait()
            await self._admitted.wait()
        self._running += 1
        try:
            return await self._sample(prompt_ids, sampling_params, request_id)
        finally:
            self._running -= 1

    async def _sample(self, prompt_ids: list[int], sampling_params: dict[str, Any], request_id: str) -> TokenOutput:
        room = self._max_model_len - len(prompt_ids)
        sampling = Sampling(
            max_tokens=min(int(sampling_params["max_tokens"]), room),
            temperature=float(sampling_params["temperature"]),
            top_p=float(sampling_params["top_p"]),
            seed=int(sampling_params["seed"]),
        )
        await self._until_quiet()
        generation = await self._policy.generate(list(prompt_ids), sampling, request_id)
        return TokenOutput(
            token_ids=generation.token_ids,
            log_probs=generation.logprobs,
            stop_reason="completed",
            extra_fields={"global_steps": self._version},
        )

    async def _until_quiet(self) -> None:
        """Return once no request has come for a moment, to all that wait in the same turn of the loop."""
        self._requests += 1
        if self._quiet is None:
            self._quiet = asyncio.create_task(self._wait_for_quiet())
        await asyncio.shield(self._quiet)

    async def _wait_for_quiet(self) -> None:
        counted = 0
        while counted < self._requests:
            counted = self._requests
            await asyncio.sleep(QUIET_SECONDS)
        self._quiet = None

    async def load_weights(self, weights: list[tuple[str, torch.Tensor]], version: int | None) -> None:
        """New weights; a name that the model does not have is an error."""
        state = self._policy.model.state_dict()
        unknown = [name for name, _ in weights if name not in state]
        assert not unknown, f"the model has no weights {unknown[:3]}"
        with torch.no_grad():
            for name, tensor in weights:
                state[name].copy_(tensor)
        self._policy.forget()
        self._version = version

    async def sleep(self) -> None:
        self._policy.forget()
        self._awake.clear()

    async def wake_up(self) -> None:
        self._awake.set()

    async def resume(self, tags: list[str]) -> None:
        self._awake.set()

    async def abort_all_requests(self, reject_request: bool = False) -> None:
        """Return once no turn is being sampled; those that are asked for wait. None is cut short."""
        self._admitted.clear()
        while self._running:
            await asyncio.sleep(QUIET_SECONDS)

    async def resume_generation(self) -> None:
        self._admitted.set()

    async def clear_kv_cache(self) -> None:
        self._policy.forget()

    async def _no_operation(self, *_: Any, **__: Any) -> None:
        """What only servers with a device have to do."""

    release_kv_cache = resume_kv_cache = _no_operation
    start_profile = stop_profile = _no_operation


class TransformersReplica(RolloutReplica):
    """One server."""

    async def launch_servers(self) -> None:
        """Start it and wait until it has the model."""
        options = {"num_cpus": 0, "name": _name(self.replica_rank), "max_concurrency": self.max_concurrency}
        longest = self.config.max_model_len or self.config.prompt_length + self.config.response_length
        server = ray.remote(TransformersServer).options(**options).remote(self.model_config.path, longest)
        await server.clear_kv_cache.remote()
        self.servers, self._server_handle = [server], server
        self._server_address = f"{_name(self.replica_rank)}:0"


class TransformersAdapter(BaseRollout):
    """In every training process: hands the weights to the server of its replica."""

    def __init__(self, config: Any, model_config: Any, device_mesh: Any, replica_rank: int = -1) -> None:
        super().__init__(config, model_config, device_mesh)
        rank = int(os.environ["RANK"])
        size = self.config.tensor_model_parallel_size * self.config.data_parallel_size
        self._replica = rank // size if replica_rank == -1 else replica_rank
        self._leads = rank % size == 0

    async def resume(self, tags: list[str]) -> None:
        if self._leads:
            await self._server().resume.remote(tags)

    async def release(self) -> None:
        if self._leads:
            await self._server().sleep.remote()

    async def update_weights(
        self, weights: Any, global_steps: int | None = None, wire_format: str = "named_tensors", **_: Any
    ) -> None:
        """Every rank reads all weights, because reading them is a collective operation; one passes them on."""
        assert wire_format == "named_tensors", wire_format
        copies = [(name, tensor.detach().to("cpu", torch.float32).clone()) for name, tensor in weights]
        if self._leads:
            await self._server().load_weights.remote(copies, global_steps)

    def _server(self) -> Any:
        return ray.get_actor(_name(self._replica))
