"""A Hugging Face causal language model in this process, generating for many meta-episodes at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mrsearch.agent.chat import DEFAULT_TEMPLATE
from mrsearch.agent.ports import Finish, Generation, Sampling
from mrsearch.agent.protocol import CLOSING_TAGS, StopRule
from mrsearch.config.chat import ChatTemplate
from mrsearch.policy import kv_cache
from mrsearch.policy.architectures import require_length, require_supported
from mrsearch.policy.arithmetic import autocast, device_of
from mrsearch.policy.causal_model import load_model
from mrsearch.policy.masks import Masks
from mrsearch.policy.sampling import sample, uniforms
from mrsearch.policy.tokenizer import load_tokenizer


@dataclass(slots=True)
class _PendingGeneration:
    context: list[int]
    sampling: Sampling
    request_id: str
    future: asyncio.Future[Generation]
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: Finish | None = None


@dataclass(slots=True)
class _CachedSequence:
    """What the cache holds for one request id."""

    index: int
    token_ids: list[int]
    columns: Tensor


class TorchPolicy:
    """Batches the attached meta-episodes turn by turn and keeps their keys and values between turns.

    A batch starts when every attached meta-episode waits for its next generation, so batches, and with them the
    floating-point results, do not depend on timing.
    """

    def __init__(self, model: Any, tokenizer: Any, stop_rule: StopRule, autocast_dtype: str = "float32") -> None:
        """autocast_dtype: arithmetic of a float32 model's products; bfloat16 also halves what is cached.

        ValueError for a model whose architecture is not supported.
        """
        require_supported(model.config)
        self._masks = Masks(model.config, model.dtype)
        self.model, self.tokenizer, self.stop_rule = model.eval(), tokenizer, stop_rule
        self.device, self._autocast_dtype = device_of(model), autocast_dtype
        self._attached: set[str] = set()
        self._pending: list[_PendingGeneration] = []
        self._scheduled = False
        self._rows: dict[str, _CachedSequence] = {}
        self._layers: list[tuple[Tensor, Tensor]] = []
        self._candidates = torch.zeros(model.config.vocab_size, dtype=torch.bool)
        self._candidates[[token for token in stop_rule.candidates if token < model.config.vocab_size]] = True

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        device: str | torch.device = "cpu",
        dtype: str = "float32",
        autocast_dtype: str = "float32",
        closing: Sequence[str] = CLOSING_TAGS,
        template: ChatTemplate = DEFAULT_TEMPLATE,
    ) -> TorchPolicy:
        """The policy of a Hugging Face folder; ValueError if it is not one, or not of a supported architecture."""
        model = load_model(folder, getattr(torch, dtype))
        tokenizer = load_tokenizer(folder)
        return cls(model.to(torch.device(device)), tokenizer, StopRule(tokenizer, closing, template), autocast_dtype)

    def attach(self, request_id: str) -> None:
        """A meta-episode begins: batches wait for it from now on."""
        self._attached.add(request_id)

    def detach(self, request_id: str) -> None:
        """A meta-episode ended: batches no longer wait for it."""
        self._attached.discard(request_id)
        self._rows.pop(request_id, None)
        if not self._attached:
            self.forget()
        self._schedule()

    async def aclose(self) -> None:
        """Drop what is cached; as `HttpPolicy` closes its connections."""
        self.forget()

    def forget(self) -> None:
        """Drop every cached key and value; needed after the weights changed."""
        self._rows, self._layers = {}, []

    async def generate(self, context: Sequence[int], sampling: Sampling, request_id: str) -> Generation:
        """Sample one turn after `context`; ValueError for an empty context, no token to generate, or a length at which
        the model changes its positions."""
        if not context or sampling.max_tokens < 1:
            raise ValueError(
                f"request {request_id}: context has {len(context)} tokens and max_tokens is {sampling.max_tokens}: "
                "both must be at least 1"
            )
        require_length(self.model.config, len(context) + sampling.max_tokens)
        request = _PendingGeneration(list(context), sampling, request_id, asyncio.get_running_loop().create_future())
        self._pending.append(request)
        self._schedule()
        return await request.future

    def _schedule(self) -> None:
        if self._pending and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush_if_complete)

    def _flush_if_complete(self) -> None:
        self._scheduled = False
        waiting = {request.request_id for request in self._pending}
        if not self._pending or not self._attached <= waiting:
            return
        batch, self._pending = sorted(self._pending, key=lambda request: request.request_id), []
        try:
            with autocast(self.device, self._autocast_dtype, cached=True):
                self._run(batch)
        except Exception as error:
            self.forget()
            for request in batch:
                if not request.future.done():
                    request.future.set_exception(error)
            return
        for request in batch:
            if not request.future.done():
                assert request.finish is not None
                request.future.set_result(Generation(request.token_ids, request.logprobs, request.finish))

    @torch.inference_mode()
    def _run(self, batch: list[_PendingGeneration]) -> None:
        """Feed each request's new tokens as one ragged chunk, then decode until every request ended."""
        reused = [self._reusable(request) for request in batch]
        chunks = [request.context[count:] for request, count in zip(batch, reused, strict=True)]
        steps = max(request.sampling.max_tokens for request in batch)
        past, width = max(reused), max(map(len, chunks))
        cache = self._start_cache(batch, reused, past, width + steps)
        allowed = torch.zeros(len(batch), past + width + steps, dtype=torch.bool)
        tokens = torch.zeros(len(batch), width, dtype=torch.long)
        for b, (count, chunk) in enumerate(zip(reused, chunks, strict=True)):
            allowed[b, past - count : past] = True
            allowed[b, past + width - len(chunk) : past + width] = True
            tokens[b, width - len(chunk) :] = torch.tensor(chunk)
        lengths = torch.tensor([len(request.context) for request in batch])
        positions = (lengths[:, None] - width + torch.arange(width)[None]).clamp(min=0)
        logits = self._forward(tokens, allowed[:, : past + width], positions, cache)
        self._layers = self._decode(batch, logits, allowed, lengths, past + width, cache)
        self._remember(batch, allowed)

    def _decode(
        self, batch: list[_PendingGeneration], logits: Tensor, allowed: Tensor, lengths: Tensor, column: int, cache: Any
    ) -> list[tuple[Tensor, Tensor]]:
        """Decode until every request ended; returns keys and values [B, H, S, D] of all layers.

        Rows whose requests ended leave the batch once they are half of it, so that few long generations do not carry
        many short ones along.
        """
        samplings = [request.sampling for request in batch]
        draws = uniforms(samplings)
        temperature = torch.tensor([sampling.temperature for sampling in samplings], device=self.device)
        top_p = torch.tensor([sampling.top_p for sampling in samplings], device=self.device)
        rows, parked = torch.arange(len(batch)), []
        for step in range(draws.shape[1]):
            device_rows = rows.to(self.device)
            drawn, logprobs = sample(logits, temperature[device_rows], top_p[device_rows], draws[rows, step])
            drawn = drawn.cpu()
            self._append([batch[row] for row in rows.tolist()], drawn, logprobs.tolist())
            running = torch.tensor([batch[row].finish is None for row in rows.tolist()])
            if not running.any():
                break
            if 2 * int(running.sum()) <= len(rows):
                parked.append((rows[~running], kv_cache.take(cache, (~running).to(self.device))))
                cache = kv_cache.keep(cache, running.to(self.device))
                rows, drawn, running = rows[running], drawn[running], running[running]
            allowed[rows, column] = running
            seen = allowed[rows, : column + 1]
            logits = self._forward(drawn[:, None], seen, (lengths[rows] + step)[:, None], cache)
            column += 1
        parked.append((rows, kv_cache.take(cache)))
        return kv_cache.gather(parked, len(batch))

    def _append(self, batch: list[_PendingGeneration], drawn: Tensor, logprobs: list[float]) -> None:
        candidate = self._candidates[drawn].tolist()
        for b, token in enumerate(drawn.tolist()):
            request = batch[b]
            if request.finish is not None:
                continue
            request.token_ids.append(token)
            request.logprobs.append(logprobs[b])
            if candidate[b] and self.stop_rule.is_end(request.token_ids):
                request.finish = Finish.stop
            elif len(request.token_ids) >= request.sampling.max_tokens:
                request.finish = Finish.length

    def _forward(self, tokens: Tensor, seen: Tensor, positions: Tensor, cache: Any) -> Tensor:
        """Logits [B, V] after the last column of `tokens` [B, T]; seen [B, S] is True in columns that hold a token."""
        output = self.model(
            input_ids=tokens.to(self.device),
            attention_mask=self._masks.of(seen, tokens.shape[1], self.device),
            position_ids=positions.to(self.device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1]

    def _reusable(self, request: _PendingGeneration) -> int:
        """How many leading tokens of the context the cache holds; the last token is always fed anew."""
        row = self._rows.get(request.request_id)
        if row is None:
            return 0
        limit = min(len(row.token_ids), len(request.context) - 1)
        if row.token_ids[:limit] == request.context[:limit]:
            return limit
        return next(i for i in range(limit) if row.token_ids[i] != request.context[i])

    def _start_cache(self, batch: list[_PendingGeneration], reused: list[int], past: int, room: int) -> Any:
        if not past:
            return kv_cache.empty(self.model.config.num_hidden_layers, room)
        source = torch.zeros(len(batch), dtype=torch.long)
        columns = torch.zeros(len(batch), past, dtype=torch.long)
        for b, (request, count) in enumerate(zip(batch, reused, strict=True)):
            if count:
                row = self._rows[request.request_id]
                source[b] = row.index
                columns[b, past - count :] = row.columns[:count]
        return kv_cache.repack(self._layers, source.to(self.device), columns.to(self.device), room)

    def _remember(self, batch: list[_PendingGeneration], allowed: Tensor) -> None:
        filled = allowed[:, : self._layers[0][0].shape[-2]]
        self._rows = {}
        for b, request in enumerate(batch):
            columns = filled[b].nonzero()[:, 0]
            token_ids = (request.context + request.token_ids)[: len(columns)]
            self._rows[request.request_id] = _CachedSequence(b, token_ids, columns)
