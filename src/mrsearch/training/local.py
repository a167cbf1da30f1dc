"""The embedded trainer: rollouts and updates in one process, plain torch."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mrsearch.agent.dialogue import Dialogue
from mrsearch.agent.ports import SearchEngine
from mrsearch.agent.records import ActionKind, MetaEpisode, Question
from mrsearch.agent.spec import AgentSpec
from mrsearch.config import Study
from mrsearch.config.training import PolicyTraining, Train
from mrsearch.learning.losses import kl_penalty, ppo_clip, token_weights
from mrsearch.policy.torch_policy import TorchPolicy
from mrsearch.training import checkpoints
from mrsearch.training.export import export_model
from mrsearch.training.rollouts import Row, draw_questions, reward_tensors, roll_out, summary, training_rows
from mrsearch.training.sequences import pad, score_tokens
from mrsearch.training.steplog import StepLog

log = logging.getLogger(__name__)


@dataclass(slots=True)
class LocalTrainer:
    """Trains one method from one starting policy with one seed."""

    study: Study
    method: str
    seed: int
    questions: Sequence[Question]
    engine: SearchEngine
    start: Path
    steps: StepLog
    run_dir: Path

    def train(self, out: Path) -> None:
        """Run every step, resuming from the newest checkpoint in `run_dir`, and export the policy to `out`."""
        config, policy = self.study.training, TorchPolicy.load(self.start)
        dialogue = Dialogue(policy.tokenizer, self.study.protocol)
        spec = AgentSpec.of(self.study, self.method)
        optimizer = torch.optim.AdamW(policy.model.parameters(), lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay)
        reference = copy.deepcopy(policy.model) if config.kl_coefficient else None
        step, counters = 0, {"tokens": 0, "searches": 0, "search_failures": 0}
        if checkpoint := checkpoints.latest(self.run_dir):
            checkpoints.restore(checkpoint, policy.model, optimizer)
            step, counters = checkpoint.next_step, checkpoint.counters
        self.steps.resume_at(step)
        while step < config.steps and not _spent(config, counters):
            began = time.perf_counter()
            row = self._step(step, policy, dialogue, spec, optimizer, reference, counters)
            self.steps.add({"step": step, **row, "total_tokens": counters["tokens"], "seconds": time.perf_counter() - began})
            step += 1
            if step % config.checkpoint_every == 0 or step == config.steps or _spent(config, counters):
                checkpoints.save(self.run_dir, step, policy.model, optimizer, counters, config.checkpoints_kept)
        export_model(policy.model, policy.tokenizer, out)

    def _step(
        self, step: int, policy: TorchPolicy, dialogue: Dialogue, spec: AgentSpec, optimizer: torch.optim.Optimizer, reference: Any, counters: dict[str, int]
    ) -> dict[str, Any]:
        config, train = self.study.training, self.study.methods[self.method].train
        assert train is not None
        questions = draw_questions(self.questions, config.questions_per_step, self.seed, step)
        metas = roll_out(questions, policy, self.engine, spec, dialogue, config, seed=self.seed, step=step)
        self._count(metas, counters)
        rewards, exists = reward_tensors(metas, config.group_size, spec.episodes, self.study.protocol.scoring)
        rows = training_rows(metas, rewards, exists, train)
        updated = update(policy.model, optimizer, rows, config, train, step=step, seed=self.seed, reference=reference)
        policy.forget()
        return {**summary(metas, rewards, exists), **updated}

    def _count(self, metas: Sequence[MetaEpisode], counters: dict[str, int]) -> None:
        """Add to the counters; RuntimeError once too many searches failed."""
        counters["tokens"] += sum(len(meta.token_ids) for meta in metas)
        counters["search_failures"] += sum(meta.search_failures for meta in metas)
        counters["searches"] += sum(turn.action is ActionKind.search for meta in metas for episode in meta.episodes for turn in episode.turns)
        limit = self.study.retrieval.client.max_failure_rate
        if counters["search_failures"] > limit * max(1, counters["searches"]):
            raise RuntimeError(
                f"{counters['search_failures']} of {counters['searches']} searches failed, more than "
                f"retrieval.client.max_failure_rate ({limit}) allows: look at the retriever's log"
            )


def update(
    model: Any, optimizer: torch.optim.Optimizer, rows: Sequence[Row], config: PolicyTraining, train: Train, *, step: int, seed: int, reference: Any = None
) -> dict[str, float]:
    """One step's optimizer updates over its rows; returns clip fraction, KL, entropy, gradient norm and learning rate.

    A mini-batch holds whole groups: questions_per_step / minibatches questions. FloatingPointError where the gradient is
    not finite.
    """
    rate = config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup_steps))
    for group in optimizer.param_groups:
        group["lr"] = rate
    totals = {"clipped": 0.0, "kl": 0.0, "entropy": 0.0, "trained": 0.0}
    norms = []
    for epoch in range(config.epochs):
        generator = torch.Generator().manual_seed((seed * 1_000_003 + step) * 101 + epoch)
        order = torch.randperm(config.questions_per_step, generator=generator).tolist()
        size = config.questions_per_step // config.minibatches
        for begin in range(0, config.questions_per_step, size):
            chosen = set(order[begin : begin + size])
            minibatch = [row for row in rows if row.meta_episode // config.group_size in chosen]
            norms.append(_minibatch(model, optimizer, minibatch, config, step, totals, reference))
    trained = max(1.0, totals["trained"])
    return {
        "clip_fraction": totals["clipped"] / trained,
        "kl": totals["kl"] / trained,
        "entropy": totals["entropy"] / trained,
        "gradient_norm": sum(norms) / len(norms),
        "learning_rate": rate,
    }


def policy_loss(
    model: Any, rows: Sequence[Row], weights: Sequence[Tensor], config: PolicyTraining, reference: Any = None
) -> tuple[Tensor, dict[str, float]]:
    """The PPO loss of some rows, each with its token weights [T], and sums for the log."""
    tokens = pad([row.token_ids for row in rows], torch.long)
    chosen = pad([row.loss_mask for row in rows], torch.bool)
    old = pad([row.logprobs for row in rows], torch.float32)[chosen]
    advantages = pad([row.advantages for row in rows], torch.float32)[chosen]
    weights_K = pad([weight.tolist() for weight in weights], torch.float32)[chosen]
    scored = score_tokens(model, tokens, chosen, config.temperature)
    result = ppo_clip(scored.logprobs_K, old, advantages, weights_K, config.clip_range)
    loss = result.loss
    if reference is not None:
        with torch.no_grad():
            anchor = score_tokens(reference, tokens, chosen, config.temperature).logprobs_K
        loss = loss + config.kl_coefficient * kl_penalty(scored.logprobs_K, anchor, weights_K)
    sums = {"clipped": result.clipped.item(), "kl": result.kl.item(), "entropy": scored.entropy_K.sum().item(), "trained": float(len(old))}
    return loss, sums


def _minibatch(
    model: Any, optimizer: torch.optim.Optimizer, rows: list[Row], config: PolicyTraining, step: int, totals: dict[str, float], reference: Any
) -> float:
    """Accumulate the gradient over micro-batches and step the optimizer; returns the gradient norm.

    Rows whose advantages are all 0 have no gradient without a KL term: they weigh in the mean but are not computed.
    """
    if not rows:
        return 0.0
    _, members = torch.unique(torch.tensor([row.meta_episode for row in rows]), return_inverse=True)
    weights_BT = token_weights(pad([row.loss_mask for row in rows], torch.bool), members, config.loss_aggregation)
    useful = [i for i, row in enumerate(rows) if config.kl_coefficient or any(row.advantages)]
    useful.sort(key=lambda i: len(rows[i].token_ids))
    for begin in range(0, len(useful), config.microbatch_sequences):
        part = useful[begin : begin + config.microbatch_sequences]
        weights = [weights_BT[i, : len(rows[i].token_ids)] for i in part]
        loss, sums = policy_loss(model, [rows[i] for i in part], weights, config, reference)
        loss.backward()
        for key, value in sums.items():
            totals[key] += value
    norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_gradient_norm))
    if not norm < float("inf"):
        raise FloatingPointError(f"the gradient norm is {norm} at step {step}: lower training.learning_rate, or continue from the last checkpoint")
    if useful:
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm


def _spent(config: PolicyTraining, counters: dict[str, int]) -> bool:
    return config.token_budget is not None and counters["tokens"] >= config.token_budget
