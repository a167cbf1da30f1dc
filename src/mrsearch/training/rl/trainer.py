"""The embedded trainer: rollouts and updates in one process, plain torch."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from mrsearch.agent.agent import Agent
from mrsearch.agent.ports import SearchEngine
from mrsearch.agent.questions import read_questions
from mrsearch.agent.reasoning import ReasoningCounts, reasoning_shares
from mrsearch.agent.records import MetaEpisode, Question
from mrsearch.agent.renderer import Renderer
from mrsearch.agent.spec import AgentSpec
from mrsearch.agent.tally import MetaEpisodeCounts, Tally
from mrsearch.cluster.stopping import Stopped, StopRequest
from mrsearch.learning.advantages import advantages
from mrsearch.policy.torch_policy import TorchPolicy
from mrsearch.retrieval.engine import search_retries
from mrsearch.training import checkpoints, groups
from mrsearch.training.adapters import merged, reference_of, trainable
from mrsearch.training.estimators import estimator_of
from mrsearch.training.export import export_model
from mrsearch.training.health import ReasoningMonitor, Unhealthy, require_health
from mrsearch.training.log import TrainingLog
from mrsearch.training.optimizer import adamw
from mrsearch.training.rl.learning_rate import learning_rate
from mrsearch.training.rl.rollouts import step_groups, training_rows
from mrsearch.training.rl.turns import advantages_of_turns, member_turns
from mrsearch.training.rl.updates import update
from mrsearch.training.rl.validator import Validator
from mrsearch.training.run import TrainingRun
from mrsearch.training.save_clock import SaveClock
from mrsearch.training.summary import step_summary, term_means
from mrsearch.training.turns import turn_summary

log = logging.getLogger(__name__)
BEST = "best"
"""Folder of the weights of the best validation, below the run's."""


@dataclass(slots=True)
class LocalTrainer:
    """Trains a policy by its rewards."""

    run: TrainingRun
    engine: SearchEngine | None
    """None for procedures that do not search."""
    steps: TrainingLog
    show: Callable[[int, Sequence[MetaEpisode]], None] | None = None
    """Is handed the step's meta-episodes now and then: at steps that `training.checkpoint_every` divides."""
    tally: Tally = field(default_factory=Tally)
    """Of all meta-episodes since the first step."""
    _retries: int = 0

    def train(self) -> None:
        """Run every step, resuming from the newest checkpoint in the run's folder, and export the policy."""
        study, folder = self.run.study, self.run.folder
        config, protocol = study.training, study.protocol
        policy = TorchPolicy.load(
            self.run.inputs.start,
            device=self.run.device(),
            autocast_dtype=config.local.dtype,
            closing=protocol.tags.closing,
            template=protocol.chat_template,
        )
        renderer = Renderer(policy.tokenizer, study.protocol)
        spec = AgentSpec.of(study, self.run.method)
        questions = read_questions(self.run.inputs.questions)
        validator = Validator(config, questions, folder / BEST)
        pool = validator.trained
        trained = trainable(policy.model, config.lora, self.run.seed)
        optimizer = adamw(trained, config)
        reference = reference_of(trained) if config.kl_coef else None
        step = 0
        if checkpoint := checkpoints.latest(folder):
            checkpoints.restore(checkpoint, trained, optimizer)
            step, self.tally = checkpoint.next_step, Tally(**checkpoint.counters)
        self.steps.resume_at(step)
        monitor = ReasoningMonitor(config.reasoning)
        require_health([monitor], self.steps.rows())
        stop, clock = StopRequest(folder).listen(), SaveClock(config.checkpoint_minutes)
        while step < config.steps and not self._spent():
            began = time.perf_counter()
            row = self._step(step, pool, policy, renderer, spec, optimizer, reference)
            ended = step + 1 == config.steps or self._spent()
            if validator.due(step + 1, ended):
                agent = Agent(policy, self.engine, spec, renderer)
                row |= validator.judge(step + 1, agent, trained, self.run.seed)
            row |= {"total_tokens": self.tally.tokens, "seconds": time.perf_counter() - began}
            alarms = monitor.look(row)
            for name, text in alarms.items():
                log.warning("step %d: %s: %s", step + 1, name, text)
            self.steps.add({"step": step, **row, "alarms": sorted(alarms)})
            step += 1
            stopping, illness = stop.after(step), monitor.verdict(alarms)
            due = step % config.checkpoint_every == 0 or clock.due() or illness is not None
            if stopping or due or ended:
                counters = asdict(self.tally)
                checkpoints.save(folder, step, trained, optimizer, counters, config.checkpoints_kept)
                clock.saved()
            if illness is not None:
                raise Unhealthy(illness)
            if stopping:
                raise Stopped
        out = self.run.out.model
        groups.publish(folder, out)
        validator.restore_best(trained)
        export_model(merged(trained), policy.tokenizer, out)

    def _step(
        self,
        step: int,
        pool: Sequence[Question],
        policy: TorchPolicy,
        renderer: Renderer,
        spec: AgentSpec,
        optimizer: torch.optim.Optimizer,
        reference: Any,
    ) -> dict[str, Any]:
        config, train, seed = self.run.study.training, self.run.settings, self.run.seed
        rate = learning_rate(config, step, self.tally.tokens)
        reward = self.run.study.reward_of(self.run.method)
        generated = step_groups(pool, policy, self.engine, spec, renderer, config, reward, seed=seed, step=step)
        counts = self.count(step, generated.metas)
        trained = generated.trained(config.train_batch_size)
        metas, rewards, exists = trained.metas, trained.rewards_QGN, trained.exists_QGN
        advantages_QGN = advantages(
            estimator_of(train), rewards, exists, gamma=train.gamma, episode_mask=train.episode_mask
        )
        members, turns = [], None
        if train.by_turn:
            members = member_turns(metas, policy.model, renderer, train, config)
            turns = advantages_of_turns(members, advantages_QGN, train)
        rows = training_rows(metas, advantages_QGN, self.run.study.protocol, turns)
        if groups.is_kept(step):
            groups.keep(self.run.folder, step, metas, rewards, exists, advantages_QGN)
        options = {"reference": reference, "llds_coef": train.llds_coef}
        updated = update(policy.model, optimizer, rows, config, step=step, seed=seed, rate=rate, **options)
        policy.forget()
        if self.show and step % config.checkpoint_every == 0:
            self.show(step, metas)
        before, self._retries = self._retries, search_retries(self.engine)
        retries = self._retries - before
        summary = step_summary(counts, generated.rewards_QGN, generated.exists_QGN, search_retries=retries)
        reasoning = [ReasoningCounts.of(meta, spec.protocol.tags) for meta in generated.metas]
        summary |= reasoning_shares(reasoning, self.run.study.methods[self.run.method].searches)
        summary |= term_means([rewarded.terms for rewarded in generated.rewards], spec.episodes, len(counts))
        if config.filter_groups is not None:
            summary["generated_groups"] = len(generated.rewards_QGN)
        return {**summary, **turn_summary(members, train), **updated}

    def count(self, step: int, metas: Sequence[MetaEpisode]) -> list[MetaEpisodeCounts]:
        """The counts of a step's meta-episodes, added to the tally; ValueError once too many searches failed."""
        counts = [MetaEpisodeCounts.of(meta) for meta in metas]
        for count in counts:
            self.tally.add(count)
        self.tally.check_searches(self.run.study, f"{self.run.method}, step {step}")
        return counts

    def _spent(self) -> bool:
        budget = self.run.study.training.token_budget
        return budget is not None and self.tally.tokens >= budget
