"""The supervised loop: from traces to weights, for a warm start and for fine-tuning alike."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from mrsearch.cluster.stopping import Stopped, StopRequest
from mrsearch.config.supervised import FineTuning, Supervised, WarmStart
from mrsearch.policy.tokenizer import load_tokenizer
from mrsearch.training import checkpoints
from mrsearch.training.export import export_model
from mrsearch.training.sequences import pad, score_tokens
from mrsearch.training.steplog import StepLog

log = logging.getLogger(__name__)
BLOCK = 8
"""Batches whose traces are sorted by length together: fewer padded tokens, order still random."""
FINAL_RATE = 0.05
"""Learning rate at the end, as a share of the peak."""
Rename = Callable[[Sequence[int], torch.Generator], list[int]]
"""A trace's tokens under other names."""


class Trace(NamedTuple):
    """Tokens to imitate, and which of them (1) the policy generates."""

    token_ids: Sequence[int]
    loss_mask: Sequence[int]


@dataclass(frozen=True)
class Job:
    """One supervised training."""

    settings: WarmStart | FineTuning
    traces: Sequence[Trace]
    lengths: Sequence[int]
    """Tokens of each trace."""
    seed: int
    name: str
    """Key of the settings, for messages."""
    microbatch: int
    """Sequences in one forward pass."""
    context_loss_weight: float = 0.0
    """Weight of the loss on tokens that the policy does not generate."""
    rename: Rename | None = None


def train_supervised(job: Job, start: Path, out: Path, steps: StepLog, run_dir: Path) -> None:
    """Train the model in `start` and export it to `out`; resumes from checkpoints in `run_dir`."""
    config, tokenizer = job.settings, load_tokenizer(start)
    loader: Any = AutoModelForCausalLM
    model = loader.from_pretrained(start, local_files_only=True, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay
    )
    batches = plan(config, job.lengths, job.seed)
    first = 0
    if checkpoint := checkpoints.latest(run_dir):
        checkpoints.restore(checkpoint, model, optimizer)
        first = checkpoint.next_step
    steps.resume_at(first)
    stop = StopRequest(run_dir).listen()
    for step in range(first, config.steps):
        began = time.perf_counter()
        generator = torch.Generator().manual_seed(job.seed * 1_000_003 + step)
        rows = [job.traces[index] for index in batches[step]]
        if job.rename:
            rows = [Trace(job.rename(row.token_ids, generator), row.loss_mask) for row in rows]
        row = train_step(model, optimizer, job, step, rows, tokenizer.pad_token_id or 0)
        steps.add({"step": step, **row, "seconds": time.perf_counter() - began})
        stopping = stop.after(step)
        if stopping or (step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps:
            checkpoints.save(run_dir, step + 1, model, optimizer, {}, keep=1)
        if stopping:
            raise Stopped
    export_model(model, tokenizer, out)


def plan(config: Supervised, lengths: Sequence[int], seed: int) -> list[list[int]]:
    """The traces of every step: shuffled passes over all of them, sorted by length within blocks of whole batches."""
    rng = random.Random(f"{seed}/plan")
    order: list[int] = []
    while len(order) < config.steps * config.batch_traces:
        order += rng.sample(range(len(lengths)), len(lengths))
    batches: list[list[int]] = []
    size = BLOCK * config.batch_traces
    for begin in range(0, config.steps * config.batch_traces, size):
        block = sorted(order[begin : begin + size], key=lambda index: lengths[index])
        whole = len(block) // config.batch_traces * config.batch_traces
        groups = [block[i : i + config.batch_traces] for i in range(0, whole, config.batch_traces)]
        rng.shuffle(groups)
        batches += groups
    return batches[: config.steps]


def learning_rate(config: WarmStart | FineTuning, step: int) -> float:
    """Linear warm-up, then decay to 5 % of the peak: linear in a warm start; in fine-tuning half a cosine from the end
    of the warm-up to the last step, as verl's trainer has it."""
    if isinstance(config, WarmStart):
        warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
        return config.learning_rate * warm * max(FINAL_RATE, 1 - step / config.steps)
    done = step + 1
    if done < config.warmup_steps:
        return config.learning_rate * done / config.warmup_steps
    progress = (done - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * (FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * progress)))


def train_step(
    model: Any, optimizer: torch.optim.Optimizer, job: Job, step: int, rows: Sequence[Trace], padding: int
) -> dict[str, Any]:
    """One update on a batch of traces: the mean over all generated tokens of the batch, plus the weighted mean over all
    others; returns the first mean, the gradient's norm before clipping, and the number of tokens.

    FloatingPointError where the gradient is not finite.
    """
    config = job.settings
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(config, step)
    spoken = sum(sum(row.loss_mask[1:]) for row in rows)
    tokens = sum(len(row.token_ids) for row in rows)
    total = 0.0
    for begin in range(0, len(rows), job.microbatch):
        loss, nll = _loss(
            model, rows[begin : begin + job.microbatch], job, spoken, tokens - len(rows) - spoken, padding
        )
        loss.backward()
        total += nll
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_gradient_norm)
    if not torch.isfinite(norm):
        raise FloatingPointError(
            f"{job.name}: the gradient norm is {norm.item()} at step {step}: lower {job.name}.learning_rate"
        )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return {"nll": total, "gradient_norm": norm.item(), "tokens": tokens}


def _loss(model: Any, rows: Sequence[Trace], job: Job, spoken: int, others: int, padding: int) -> tuple[Tensor, float]:
    """These rows' share of the batch's loss, and of its mean over the `spoken` generated tokens."""
    tokens_BT = pad([row.token_ids for row in rows], torch.long, padding)
    spoken_BT = pad([row.loss_mask for row in rows], torch.bool)
    chosen_BT = pad([[1] * len(row.token_ids) for row in rows], torch.bool)
    chosen_BT[:, 0] = False
    if not job.context_loss_weight:
        chosen_BT &= spoken_BT
    nll_K = -score_tokens(model, tokens_BT, chosen_BT).logprobs_K
    spoken_K = spoken_BT[chosen_BT]
    loss = nll_K[spoken_K].sum() / spoken
    nll = loss.item()
    if job.context_loss_weight:
        loss = loss + job.context_loss_weight * (nll_K[~spoken_K].sum() / others)
    return loss, nll
