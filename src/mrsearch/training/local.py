"""The embedded trainer: rollouts and updates in one process, plain torch."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mrsearch.agent.dialogue import Dialogue
from mrsearch.agent.ports import SearchEngine
from mrsearch.agent.records import ActionKind, MetaEpisode, Question
from mrsearch.agent.spec import AgentSpec
from mrsearch.cluster.stopping import Stopped, StopRequest
from mrsearch.config import Study
from mrsearch.config.training import PolicyTraining
from mrsearch.learning.advantages import advantages
from mrsearch.policy.torch_policy import TorchPolicy
from mrsearch.training import checkpoints, groups
from mrsearch.training.export import export_model
from mrsearch.training.rollouts import draw_questions, reward_tensors, roll_out, summary, training_rows
from mrsearch.training.steplog import StepLog
from mrsearch.training.updates import update

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
    show: Callable[[int, Sequence[MetaEpisode]], None] | None = None
    """Is handed the step's meta-episodes now and then: at steps that `training.checkpoint_every` divides."""

    def train(self, out: Path) -> None:
        """Run every step, resuming from the newest checkpoint in `run_dir`, and export the policy to `out`."""
        config, policy = self.study.training, TorchPolicy.load(self.start)
        dialogue = Dialogue(policy.tokenizer, self.study.protocol)
        spec = AgentSpec.of(self.study, self.method)
        optimizer = torch.optim.AdamW(
            policy.model.parameters(), lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay
        )
        reference = copy.deepcopy(policy.model) if config.kl_coefficient else None
        step, counters = 0, {"tokens": 0, "searches": 0, "search_failures": 0}
        if checkpoint := checkpoints.latest(self.run_dir):
            checkpoints.restore(checkpoint, policy.model, optimizer)
            step, counters = checkpoint.next_step, checkpoint.counters
        self.steps.resume_at(step)
        stop = StopRequest(self.run_dir).listen()
        while step < config.steps and not _spent(config, counters):
            began = time.perf_counter()
            row = self._step(step, policy, dialogue, spec, optimizer, reference, counters)
            self.steps.add(
                {"step": step, **row, "total_tokens": counters["tokens"], "seconds": time.perf_counter() - began}
            )
            step += 1
            stopping = stop.after(step)
            if stopping or step % config.checkpoint_every == 0 or step == config.steps or _spent(config, counters):
                checkpoints.save(self.run_dir, step, policy.model, optimizer, counters, config.checkpoints_kept)
            if stopping:
                raise Stopped
        groups.publish(self.run_dir, out.with_name(groups.FILE))
        export_model(policy.model, policy.tokenizer, out)

    def _step(
        self,
        step: int,
        policy: TorchPolicy,
        dialogue: Dialogue,
        spec: AgentSpec,
        optimizer: torch.optim.Optimizer,
        reference: Any,
        counters: dict[str, int],
    ) -> dict[str, Any]:
        config, train = self.study.training, self.study.methods[self.method].train
        assert train is not None
        questions = draw_questions(self.questions, config.questions_per_step, self.seed, step)
        metas = roll_out(questions, policy, self.engine, spec, dialogue, config, seed=self.seed, step=step)
        self._count(metas, counters)
        rewards, exists = reward_tensors(metas, config.group_size, spec.episodes, self.study.protocol.scoring)
        gains = advantages(train.algorithm, rewards, exists, gamma=train.gamma, episode_mask=train.episode_mask)
        rows = training_rows(metas, gains)
        if groups.is_kept(step):
            groups.keep(self.run_dir, step, metas, rewards, exists, gains)
        updated = update(policy.model, optimizer, rows, config, step=step, seed=self.seed, reference=reference)
        policy.forget()
        if self.show and step % config.checkpoint_every == 0:
            self.show(step, metas)
        return {**summary(metas, rewards, exists), **updated}

    def _count(self, metas: Sequence[MetaEpisode], counters: dict[str, int]) -> None:
        """Add to the counters; RuntimeError once too many searches failed."""
        counters["tokens"] += sum(len(meta.token_ids) for meta in metas)
        counters["search_failures"] += sum(meta.search_failures for meta in metas)
        counters["searches"] += sum(
            turn.action is ActionKind.search for meta in metas for episode in meta.episodes for turn in episode.turns
        )
        limit = self.study.retrieval.client.max_failure_rate
        if counters["search_failures"] > limit * max(1, counters["searches"]):
            raise RuntimeError(
                f"{counters['search_failures']} of {counters['searches']} searches failed, more than "
                f"retrieval.client.max_failure_rate ({limit}) allows: look at the retriever's log"
            )


def _spent(config: PolicyTraining, counters: dict[str, int]) -> bool:
    return config.token_budget is not None and counters["tokens"] >= config.token_budget
