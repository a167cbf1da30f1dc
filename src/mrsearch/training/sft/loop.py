"""The supervised loop: from demonstrations to weights, for a warm start and for fine-tuning alike."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mrsearch.cluster.stopping import Stopped, StopRequest
from mrsearch.config.sft import Sft, SupervisedTraining, WarmStart
from mrsearch.policy.causal_model import load_model
from mrsearch.policy.tokenizer import load_tokenizer
from mrsearch.training import checkpoints
from mrsearch.training.cosine import half_cosine
from mrsearch.training.export import export_model
from mrsearch.training.log import TrainingLog
from mrsearch.training.optimizer import adamw
from mrsearch.training.passes import recomputed_blocks
from mrsearch.training.run import TrainingRun
from mrsearch.training.sequences import micro_batches, pad, score_tokens
from mrsearch.training.sft.demonstration_file import Demonstration, DemonstrationFile

log = logging.getLogger(__name__)
BLOCK = 8
"""Batches whose demonstrations are sorted by length together: fewer padded tokens, order still random."""
FINAL_RATE = 0.05
"""Learning rate at the end, as a share of the peak."""
Rename = Callable[[Sequence[int], torch.Generator], list[int]]
"""A demonstration's tokens under other names."""


@dataclass(frozen=True)
class SftData:
    """What a supervised training trains on, and how."""

    settings: WarmStart | Sft
    demonstrations: Sequence[Demonstration]
    lengths: Sequence[int]
    """Tokens of each demonstration."""
    name: str
    """Key of the settings, for messages."""
    micro_batch_size: int
    """Sequences in one forward pass."""
    context_loss_weight: float = 0.0
    """Weight of the loss on tokens that the policy does not generate."""
    rename: Rename | None = None


def train_supervised(run: TrainingRun, data: SftData, steps: TrainingLog) -> None:
    """Train the starting model and export it; resumes from checkpoints in the run's folder."""
    config, start = data.settings, run.inputs.start
    tokenizer = load_tokenizer(start)
    model = load_model(start, torch.float32).train().to(run.device())
    optimizer = adamw(model, config)
    batches = plan(config, data.lengths, run.seed)
    first = 0
    if checkpoint := checkpoints.latest(run.folder):
        checkpoints.restore(checkpoint, model, optimizer)
        first = checkpoint.next_step
    steps.resume_at(first)
    stop = StopRequest(run.folder).listen()
    for step in range(first, config.steps):
        began = time.perf_counter()
        generator = torch.Generator().manual_seed(run.seed * 1_000_003 + step)
        rows = [data.demonstrations[index] for index in batches[step]]
        if data.rename:
            rows = [Demonstration(data.rename(row.token_ids, generator), row.loss_mask) for row in rows]
        row = train_step(model, optimizer, data, step, rows, tokenizer.pad_token_id or 0)
        steps.add({"step": step, **row, "seconds": time.perf_counter() - began})
        stopping = stop.after(step)
        if stopping or (step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps:
            checkpoints.save(run.folder, step + 1, model, optimizer, {}, keep=2)  # one may be damaged
        if stopping:
            raise Stopped
    export_model(model, tokenizer, run.out.model)


def fine_tune(run: TrainingRun, demonstrations: Path, steps: TrainingLog) -> None:
    """Train the starting model on a file of demonstrations and export it; resumes from the run's folder."""
    config, examples = run.study.sft, DemonstrationFile(demonstrations)
    data = SftData(config, examples, examples.lengths, "sft", micro_batch_size=config.micro_batch_size)
    train_supervised(run, data, steps)


def plan(config: SupervisedTraining, lengths: Sequence[int], seed: int) -> list[list[int]]:
    """The demonstrations of every step: shuffled passes over all of them, sorted by length within blocks of
    whole batches."""
    rng = random.Random(f"{seed}/plan")
    order: list[int] = []
    while len(order) < config.steps * config.train_batch_size:
        order += rng.sample(range(len(lengths)), len(lengths))
    batches: list[list[int]] = []
    size = BLOCK * config.train_batch_size
    for begin in range(0, config.steps * config.train_batch_size, size):
        block = sorted(order[begin : begin + size], key=lambda index: lengths[index])
        full = len(block) // config.train_batch_size * config.train_batch_size
        groups = [block[i : i + config.train_batch_size] for i in range(0, full, config.train_batch_size)]
        rng.shuffle(groups)
        batches += groups
    return batches[: config.steps]


def learning_rate(config: WarmStart | Sft, step: int) -> float:
    """Linear warm-up, then decay to 5 % of the peak: linear in a warm start; in fine-tuning half a cosine from the end
    of the warm-up to the last step, as verl's trainer has it."""
    if isinstance(config, WarmStart):
        warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
        return config.learning_rate * warm * max(FINAL_RATE, 1 - step / config.steps)
    done = step + 1
    if done < config.warmup_steps:
        return config.learning_rate * done / config.warmup_steps
    progress = (done - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * half_cosine(progress, FINAL_RATE)


def train_step(
    model: Any, optimizer: torch.optim.Optimizer, data: SftData, step: int, rows: Sequence[Demonstration], padding: int
) -> dict[str, Any]:
    """One update on a batch of demonstrations: the mean over all generated tokens of the batch, plus the weighted mean
    over all others; returns the first mean, the gradient's norm before clipping, and the number of tokens.

    FloatingPointError where the gradient is not finite.
    """
    config = data.settings
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(config, step)
    spoken = sum(sum(row.loss_mask[1:]) for row in rows)
    tokens = sum(len(row.token_ids) for row in rows)
    total = 0.0
    lengths, local = [len(row.token_ids) for row in rows], config.local
    with recomputed_blocks(model, local.gradient_checkpointing):
        for numbers in micro_batches(lengths, data.micro_batch_size, local.max_token_len_per_gpu):
            batch = [rows[number] for number in numbers]
            loss, nll = _loss(model, batch, data, spoken, tokens - len(rows) - spoken, padding)
            loss.backward()
            total += nll
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
    if not torch.isfinite(norm):
        raise FloatingPointError(
            f"{data.name}: the gradient norm is {norm.item()} at step {step}: lower {data.name}.learning_rate"
        )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return {"nll": total, "gradient_norm": norm.item(), "tokens": tokens}


def _loss(
    model: Any, rows: Sequence[Demonstration], data: SftData, spoken: int, in_context: int, padding: int
) -> tuple[Tensor, float]:
    """These rows' share of the batch's loss, and of its mean over the `spoken` generated tokens."""
    tokens_BT = pad([row.token_ids for row in rows], torch.long, padding)
    spoken_BT = pad([row.loss_mask for row in rows], torch.bool)
    chosen_BT = pad([[1] * len(row.token_ids) for row in rows], torch.bool)
    chosen_BT[:, 0] = False
    if not data.context_loss_weight:
        chosen_BT &= spoken_BT
    nll_K = -score_tokens(model, tokens_BT, chosen_BT, local=data.settings.local).logprobs_K
    spoken_K = spoken_BT[chosen_BT].to(nll_K.device)
    loss = nll_K[spoken_K].sum() / spoken
    nll = loss.item()
    if data.context_loss_weight:
        loss = loss + data.context_loss_weight * (nll_K[~spoken_K].sum() / in_context)
    return loss, nll
