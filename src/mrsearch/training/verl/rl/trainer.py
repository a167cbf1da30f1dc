"""verl's trainers with per-episode advantages, strict counting, health and early ends."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, ClassVar

import transfer_queue as tq
from omegaconf import open_dict
from tensordict import TensorDict
from verl.trainer.ppo.core_algos import get_adv_estimator_fn
from verl.trainer.ppo.v1.trainer_base import PPOTrainer, register_trainer
from verl.trainer.ppo.v1.trainer_colocate_async import PPOTrainerColocateAsync
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.workers.utils.padding import response_to_nested

from mrsearch.agent.reasoning import reasoning_shares
from mrsearch.agent.tally import MetaEpisodeCounts, Tally
from mrsearch.files import read_json, write_json, write_text
from mrsearch.seal import seal
from mrsearch.training.health import Unhealthy, illness, look_all, require_health
from mrsearch.training.run import TrainingRun
from mrsearch.training.samples import COLUMNS, sample_rows
from mrsearch.training.save_clock import SaveClock
from mrsearch.training.start_up import FIRST_STEP, StartUp
from mrsearch.training.summary import step_summary, term_means
from mrsearch.training.turns import turn_summary
from mrsearch.training.validation import mean_score
from mrsearch.training.verl.rl import advantage, probe
from mrsearch.training.verl.rl.advantage import group_tensors
from mrsearch.training.verl.rl.batches import FetchedBatch, fetch, sessions
from mrsearch.training.verl.rl.beliefs import batch_gains
from mrsearch.training.verl.rl.correction import rollout_weights
from mrsearch.training.verl.rl.groups import keep_groups
from mrsearch.training.verl.rl.recipe import AHEAD, TRAINER
from mrsearch.training.verl.rl.recorder import Recorder, translated
from mrsearch.training.verl.rl.resumption import monitors_of, resumed_log
from mrsearch.training.verl.rl.rowless import forget_rowless, read_rowless
from mrsearch.training.verl.rl.rows import QUESTION
from mrsearch.training.verl.run_files import RunFiles

log = logging.getLogger(__name__)
PHASES = {
    "actor_rollout_wg": "workers",
    "reward_loop_manager": "the model in them",
    "llm_server_manager": "the generation engine",
    "agent_loop_manager": "agent loops",
}
"""Parts of the start by the attribute that verl sets at the end of each, for it calls nothing there."""


class EpisodeSteps(PPOTrainer):  # type: ignore[misc, unused-ignore]
    """One step is: meta-episodes, advantages by episode, updates. verl does all but what stands here; when
    meta-episodes begin and end, one of its trainers does, which stands behind this class."""

    mode: ClassVar[str]
    """Name of that trainer, by which verl decides how its replay buffer and its checkpoints work."""

    def __init__(self, config: Any) -> None:
        self.settings = config[TRAINER]
        self.run = TrainingRun.read(self.settings.run)
        advantage.register(*([self.settings.algorithm] if self.run.settings.algorithm_package else []))
        self.study, self.training = self.run.study, self.run.study.training
        self.files = RunFiles(self.run.folder)
        self.monitors = monitors_of(self.training)
        self.start_up = StartUp(self.run.folder)
        self.tally = Tally()
        self.clock = SaveClock(self.training.checkpoint_minutes)
        self._alarms: dict[str, str] = {}
        self._row: dict[str, Any] = {}
        self._metrics: dict[str, Any] = {}
        self._rowless: tuple[list[MetaEpisodeCounts], int] = [], 0
        self._discarded: FetchedBatch | None = None
        self._saved, self._missing, self._began = -1, 0, 0.0
        self._entropy_scale = 1.0
        self._scores: dict[str, float] = {}
        self._batch: Any = None
        self.logger: Any = None
        with open_dict(config):
            config.trainer.v1.trainer_mode = self.mode
            if self.settings.row_per_episode:
                config.actor_rollout_ref.actor.ppo_mini_batch_size *= self.settings.episodes
        super().__init__(config)

    # --- the run's beginning and end ---

    start_up: StartUp | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in PHASES:
            self._note_phase(PHASES[name])

    def _note_phase(self, name: str) -> None:
        """Until the first step has ended, one phase after the other."""
        if self.start_up is not None:
            self.start_up.ended(name)
            self.start_up = None if name == FIRST_STEP else self.start_up

    def on_train_begin(self) -> None:
        """Go on where the checkpoint stopped: counters, training log and W&B run."""
        super().on_train_begin()
        self.clock.saved()
        done = self.global_steps - 1
        self.tally = Tally(**(read_json(self.files.counters(done)) or {}))
        steps = resumed_log(self.run, self.files, done)
        require_health(self.monitors, steps.rows())
        self.logger = Recorder(self.logger, steps, self.run.tracker())

    def on_step_begin(self) -> None:
        """The last step's metrics are written: if they were bad enough, end here."""
        if (reason := illness(self.monitors, self._alarms)) is not None:
            raise Unhealthy(reason)
        self._began = time.perf_counter()
        super().on_step_begin()

    def on_step_end(self) -> None:
        """End early where somebody asked for it or the token budget is spent; save where it is time, and before an
        alarm ends the training, which then has not come to its end though this be the last step."""
        self._look()
        ill = illness(self.monitors, self._alarms) is not None
        reason = None if ill else self._reason_to_end()
        due = reason is not None or self.clock.due() or ill
        if due and self._saved != self.global_steps:
            self._save_checkpoint()
        if reason is not None:
            write_json(self.files.ended, {"step": self.global_steps, "reason": reason})
            self.total_training_steps = self.global_steps
        super().on_step_end()
        self._note_phase(FIRST_STEP)

    def _look(self) -> None:
        row = self._row | translated(self._metrics)
        self._alarms = look_all(self.monitors, row)
        for name, text in self._alarms.items():
            log.warning("step %d: %s: %s", self.global_steps, name, text)

    def _reason_to_end(self) -> str | None:
        if self.files.stop.exists():
            return "stopped"
        budget = self.training.token_budget
        if budget is not None and self.tally.tokens >= budget:
            return "token_budget"
        return "done" if self.global_steps >= self.total_training_steps else None

    # --- a step ---

    def _balance_batch(self, batch: Any, metrics: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        self._count_missing(batch, metrics)
        self._batch = super()._balance_batch(batch, metrics, *args, **kwargs)
        return self._batch

    def _count_missing(self, batch: Any, metrics: dict[str, Any]) -> None:
        """verl only logs a trajectory that failed, and goes on with what is left; RuntimeError where that is little.

        Meta-episodes without a row are not missing.
        """
        groups, self._discarded = self._generated()
        expected = groups * self.training.group_size
        self._rowless = read_rowless(self.files, self._groups())
        discarded = len(self._discarded.counts()) if self._discarded else 0
        missing = expected - len(sessions(batch.keys, batch.tags)) - discarded - len(self._rowless[0])
        metrics["mr_search/missing_meta_episodes"] = self._missing = missing
        limit = self.training.verl.max_missing
        if missing > limit * expected:
            raise RuntimeError(
                f"{missing} of {expected} meta-episodes of step {self.global_steps} are missing, more than "
                f"training.verl.max_missing ({limit}) allows: their errors stand above in this log"
            )

    def _groups(self) -> Iterable[str] | None:
        """Ids of the step's questions; None where all meta-episodes that were noted are of this step."""
        raise NotImplementedError

    def _generated(self) -> tuple[int, FetchedBatch | None]:
        """How many groups the step generated, and the rows of those that it does not train on."""
        return self.training.train_batch_size, None

    def _compute_old_log_prob(self, batch: Any, metrics: dict[str, Any]) -> Any:
        batch = super()._compute_old_log_prob(batch, metrics)
        limit, name = self.training.verl.max_logprob_difference, "training/rollout_probs_diff_mean"
        if limit is not None and not float(metrics.get(name, math.inf)) <= limit:
            raise RuntimeError(
                f"server and trainer disagree: the probabilities of sampled tokens differ by {metrics.get(name)} on "
                f"average, more than training.verl.max_logprob_difference ({limit}) allows"
            )
        return batch

    def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:
        fetched = fetch(batch)
        self._note(fetched)
        step = self.global_steps - 1
        if metas := keep_groups(self.run, step, fetched):
            samples = sample_rows(step, metas, self.study.reward_of(self.run.method), self.study.protocol)
            self.logger.table(step, "samples", COLUMNS, samples)
        if self.settings.algorithm == "ppo":
            self._put_episode_rewards(batch, fetched)
            return super()._compute_advantage(batch, metrics)
        gains = self._gains(batch, fetched)
        estimate = get_adv_estimator_fn(self.config.algorithm.adv_estimator)
        values_BT, returns_BT = estimate(
            token_level_rewards=None,
            response_mask=fetched.response_mask_BT,
            config=self.config.algorithm,
            rows=fetched.rows,
            episodes=self.settings.episodes,
            episode_mask=self.settings.episode_mask,
            train=self.run.settings,
            gains=gains,
        )
        episodes, per_episode = self.settings.episodes, self.settings.row_per_episode
        scale_B = advantage.row_scale(fetched.rows, episodes, per_episode, self.training.loss_aggregation)
        columns = {"advantages": values_BT * scale_B[:, None], "returns": returns_BT}
        if self.training.verl.rollout_is is not None:
            columns["rollout_is_weights"] = self._rollout_weights(batch, metrics)
        nested = {name: response_to_nested(value, fetched.response_mask) for name, value in columns.items()}
        fields = TensorDict(nested, batch_size=len(batch))
        return tq.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=fields)

    def _rollout_weights(self, batch: Any, metrics: dict[str, Any]) -> Any:
        fields = ["response_mask", "rollout_log_probs", "old_log_probs"]
        data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=fields)
        weights_BT, measured = rollout_weights(data.to_padded_tensor(), self.config.algorithm.rollout_correction)
        metrics |= measured
        return weights_BT

    def _gains(self, batch: Any, fetched: FetchedBatch) -> dict[tuple[str, str], list[float | None]]:
        """Information gains of turns, where those are credited; the log tells of turns that can differ."""
        train, gains = self.run.settings, {}
        if train.turn_credit is not None:
            gains = batch_gains(self.actor_rollout_wg, batch, fetched, self.config)
        if train.by_turn:
            self._row |= turn_summary(list(advantage.members_of(fetched.rows, gains).values()), train)
        return gains

    def _put_episode_rewards(self, batch: Any, fetched: FetchedBatch) -> None:
        """For the critic: each episode's reward on its last trained token instead of the last one's at the very end."""
        rewards_BT = advantage.episode_end_rewards(
            fetched.rows, fetched.response_mask_BT, self.config.algorithm.gamma, self.settings.episode_mask
        )
        fields = TensorDict({"rm_scores": response_to_nested(rewards_BT, fetched.response_mask)}, batch_size=len(batch))
        tq.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=fields)

    def _note(self, fetched: FetchedBatch) -> None:
        """Keep what the log says of this step; ValueError once too many searches have failed."""
        generated = [fetched, *([self._discarded] if self._discarded else [])]
        rows = [row for batch in generated for row in batch.rows]
        rewards_QGN, exists_QGN, _ = group_tensors(rows, self.settings.episodes)
        counts, retries = self._rowless
        counts = [*(count for batch in generated for count in batch.counts()), *counts]
        retries += sum(batch.search_retries() for batch in generated)
        self._row = step_summary(counts, rewards_QGN, exists_QGN, self._missing, retries)
        if self.training.filter_groups is not None:
            self._row["generated_groups"] = self._generated()[0]
        lengths_B = fetched.response_mask_BT.sum(-1).float()
        self._entropy_scale = (self.training.loss_scale_factor or 1) / max(1.0, float(lengths_B[lengths_B > 0].mean()))
        reasoning = [counted for batch in generated for counted in batch.reasoning()]
        self._row |= reasoning_shares(reasoning, self.study.methods[self.run.method].searches)
        terms = [values for batch in generated for values in batch.terms()]
        self._row |= term_means(terms, self.settings.episodes, len(counts))
        for count in counts:
            self.tally.add(count)
        self.tally.check_searches(self.study, f"{self.run.method}, step {self.global_steps}")

    def _update_actor(self, batch: Any, metrics: dict[str, Any]) -> Any:
        batch = super()._update_actor(batch, metrics)
        for name in ("actor/entropy", "actor/entropy_loss"):
            if name in metrics and self.training.loss_scale_factor is not None:
                metrics[name] *= self._entropy_scale  # summed and divided by a constant, as the loss is
        self._metrics = metrics
        norm = float(metrics.get("actor/grad_norm", math.nan))
        if not math.isfinite(norm):
            raise FloatingPointError(
                f"the gradient norm is {norm} at step {self.global_steps}: lower training.learning_rate, or continue "
                "from the last checkpoint"
            )
        return batch

    def _compute_metrics(self, batch: Any, metrics: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        super()._compute_metrics(batch, metrics, *args, **kwargs)
        row = self._row | {"total_tokens": self.tally.tokens}
        metrics["mr_search/alarms"] = len(self._alarms)
        metrics |= {f"mr_search/alarm/{name}": 1.0 for name in self._alarms}
        metrics["row"] = row | {"alarms": sorted(self._alarms)}

    # --- validation and checkpoints ---

    def _validate(self) -> dict[str, Any]:
        metrics: dict[str, Any] = super()._validate()
        if not self._scores:
            return metrics
        self._row["validation"] = mean_score(self._scores)
        interval = self.files.note_validation(self.global_steps, self._scores)
        if interval is not None and math.isfinite(interval[0]):
            self._row["validation_gain"] = list(interval)
        if interval is None or interval[0] > 0:
            log.info("step %d: best validation so far, %.4f", self.global_steps, self._row["validation"])
        return metrics

    def _val_metrics_update(
        self, data_sources: list[str], uids: list[str], extra: dict[str, list[Any]], *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """Keep each question's score, of which verl's metrics have the means alone."""
        pairs = zip(extra.pop(QUESTION, []), extra.get("acc", []), strict=True)
        self._scores = {question: float(score) for question, score in pairs if question is not None}
        metrics: dict[str, Any] = super()._val_metrics_update(data_sources, uids, extra, *args, **kwargs)
        return metrics

    def _save_checkpoint(self) -> None:
        """The counters and the probe come first, so that a checkpoint which verl calls whole has them."""
        folder = self.files.checkpoint(self.global_steps)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(self.files.counters(self.global_steps), asdict(self.tally))
        row = {"step": self.global_steps - 1, **self._row, "total_tokens": self.tally.tokens}
        write_json(self.files.row(self.global_steps), row | translated(self._metrics) | {"seconds": self._elapsed()})
        if self._batch is not None:
            values = probe.take(self.actor_rollout_wg, self._batch, self.config)
            write_text(self.files.probe(self.global_steps), json.dumps(values))
        super()._save_checkpoint()
        seal(folder)
        self._saved = self.global_steps
        self.clock.saved()
        self.files.prune(self.training.checkpoints_kept, self.training.verl.keep_best)

    def _elapsed(self) -> float:
        return time.perf_counter() - self._began


@register_trainer(TRAINER)
class EpisodeTrainer(EpisodeSteps, PPOTrainerSync):
    """Every meta-episode of a step begins and ends with it."""

    mode = "sync"

    def on_step_begin(self) -> None:
        """No note of another step, or of an earlier attempt at this one, is left."""
        super().on_step_begin()
        forget_rowless(self.files)

    def _groups(self) -> None:
        return None

    def _generated(self) -> tuple[int, FetchedBatch | None]:
        if self.training.filter_groups is None:
            return super()._generated()
        return self.replay_buffer.generated, self.replay_buffer.discarded


@register_trainer(AHEAD)
class AheadTrainer(EpisodeSteps, PPOTrainerColocateAsync):
    """The next step's meta-episodes begin with this one's; while the policy is updated they wait, and go on with its
    new weights."""

    mode = "colocate_async"

    def _groups(self) -> tuple[str, ...]:
        groups: tuple[str, ...] = self.replay_buffer.questions
        return groups
