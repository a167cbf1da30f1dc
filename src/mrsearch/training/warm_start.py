"""Supervised training on scripted traces, so that a tiny model can format, search and copy."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from mrsearch.agent.ports import SearchEngine
from mrsearch.cluster.stopping import Stopped, StopRequest
from mrsearch.config import Study
from mrsearch.config.training import WarmStart
from mrsearch.policy.tokenizer import load_tokenizer
from mrsearch.training import checkpoints
from mrsearch.training.export import export_model
from mrsearch.training.sequences import pad, score_tokens
from mrsearch.training.steplog import StepLog
from mrsearch.training.traces import Trace, make_traces, name_classes, relabel

log = logging.getLogger(__name__)
BLOCK = 8
"""Batches whose traces are sorted by length together: fewer padded tokens, order still random."""
FINAL_RATE = 0.05


def warm_start(
    study: Study,
    model_name: str,
    seed: int,
    *,
    start: Path,
    engine: SearchEngine,
    out: Path,
    steps: StepLog,
    run_dir: Path,
) -> None:
    """Train the model in `start` on scripted traces and export it to `out`; resumes from checkpoints in `run_dir`."""
    config = study.warm_start
    tokenizer = load_tokenizer(start)
    model = AutoModelForCausalLM.from_pretrained(start, local_files_only=True, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay
    )
    traces = asyncio.run(make_traces(study, tokenizer, engine, config.traces, seed))
    batches = plan(config, [len(trace.token_ids) for trace in traces], seed)
    classes = name_classes(tokenizer, study) if config.relabel else []
    first = 0
    if checkpoint := checkpoints.latest(run_dir):
        checkpoints.restore(checkpoint, model, optimizer)
        first = checkpoint.next_step
    steps.resume_at(first)
    stop = StopRequest(run_dir).listen()
    for step in range(first, config.steps):
        began = time.perf_counter()
        tokens_BT, spoken_BT, real_BT = _batch(
            [traces[i] for i in batches[step]], classes, model, tokenizer, seed, step
        )
        row = _train_step(model, optimizer, config, step, tokens_BT, spoken_BT, real_BT)
        steps.add({"step": step, **row, "seconds": time.perf_counter() - began})
        stopping = stop.after(step)
        if stopping or (step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps:
            checkpoints.save(run_dir, step + 1, model, optimizer, {}, keep=1)
        if stopping:
            raise Stopped
    export_model(model, tokenizer, out)


def plan(config: WarmStart, lengths: list[int], seed: int) -> list[list[int]]:
    """The traces of every step: shuffled passes over all of them, sorted by length within blocks of batches."""
    rng = random.Random(f"{seed}/plan")
    order: list[int] = []
    while len(order) < config.steps * config.batch_traces:
        order += rng.sample(range(len(lengths)), len(lengths))
    batches: list[list[int]] = []
    size = BLOCK * config.batch_traces
    for begin in range(0, config.steps * config.batch_traces, size):
        block = sorted(order[begin : begin + size], key=lambda index: lengths[index])
        groups = [block[i : i + config.batch_traces] for i in range(0, len(block), config.batch_traces)]
        rng.shuffle(groups)
        batches += groups
    return batches


def learning_rate(config: WarmStart, step: int) -> float:
    """Linear warm-up, then linear decay to 5 % of the peak."""
    return (
        config.learning_rate
        * min(1.0, (step + 1) / max(1, config.warmup_steps))
        * max(FINAL_RATE, 1 - step / config.steps)
    )


def _batch(
    traces: list[Trace], classes: list[Tensor], model: Any, tokenizer: Any, seed: int, step: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids, the demonstrator's tokens and the real (unpadded) tokens, each [B, T]."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    rows = [relabel(trace.token_ids, classes, model.config.vocab_size, generator).tolist() for trace in traces]
    tokens = pad(rows, torch.long, tokenizer.pad_token_id)
    return (
        tokens,
        pad([trace.loss_mask for trace in traces], torch.bool),
        pad([[1] * len(row) for row in rows], torch.bool),
    )


def _train_step(
    model: Any,
    optimizer: torch.optim.Optimizer,
    config: WarmStart,
    step: int,
    tokens_BT: Tensor,
    spoken_BT: Tensor,
    real_BT: Tensor,
) -> dict[str, Any]:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(config, step)
    chosen_BT = real_BT.clone()
    chosen_BT[:, 0] = False
    if not config.context_loss_weight:
        chosen_BT &= spoken_BT
    nll_K = -score_tokens(model, tokens_BT, chosen_BT).logprobs_K
    spoken_K = spoken_BT[chosen_BT]
    spoken_nll = nll_K[spoken_K].mean()
    loss = spoken_nll
    if config.context_loss_weight:
        loss = loss + config.context_loss_weight * nll_K[~spoken_K].mean()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_gradient_norm)
    if not torch.isfinite(norm):
        raise FloatingPointError(
            f"warm start: the gradient norm is {norm.item()} at step {step}: lower warm_start.learning_rate"
        )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return {"nll": spoken_nll.item(), "gradient_norm": norm.item(), "tokens": int(real_BT.sum())}
