"""verl's synchronous trainer with per-episode advantages, strict counting, health and early ends."""

from __future__ import annotations

import json
import logging
import math
import time
from pathlib import Path
from typing import Any

import transfer_queue as tq
from omegaconf import open_dict
from tensordict import TensorDict
from verl.trainer.ppo.core_algos import get_adv_estimator_fn
from verl.trainer.ppo.v1.trainer_base import register_trainer
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.workers.utils.padding import response_to_nested

from mrsearch.config import read_study
from mrsearch.files import read_json, write_json
from mrsearch.tracking import Tracker
from mrsearch.training.samples import COLUMNS, sample_rows
from mrsearch.training.steplog import StepLog
from mrsearch.training.verl import advantage, probe
from mrsearch.training.verl.batches import Fetched, fetch, sessions
from mrsearch.training.verl.health import Monitor
from mrsearch.training.verl.kept import keep_groups
from mrsearch.training.verl.recipe import TRAINER
from mrsearch.training.verl.recorder import Recorder, translated
from mrsearch.training.verl.state import RunFolder
from mrsearch.training.verl.summary import summary, totals

log = logging.getLogger(__name__)


@register_trainer(TRAINER)
class EpisodeTrainer(PPOTrainerSync):
    """One step is: meta-episodes, advantages by episode, updates. verl does all but what stands here."""

    def __init__(self, config: Any) -> None:
        advantage.register()
        self.own = config[TRAINER]
        self.study = read_study(self.own.study)
        self.training = self.study.training
        self.folder = RunFolder(Path(self.own.run_dir))
        self.monitor = Monitor(self.training.verl.health)
        self.counters = {"tokens": 0, "searches": 0, "search_failures": 0}
        self._alarms: dict[str, str] = {}
        self._row: dict[str, Any] = {}
        self._metrics: dict[str, Any] = {}
        self._saved, self._missing, self._began = -1, 0, 0.0
        self._batch: Any = None
        self.logger: Any = None
        with open_dict(config):
            # verl decides by this name how its replay buffer and its checkpoints work.
            config.trainer.v1.trainer_mode = "sync"
            if self.own.row_per_episode:
                config.actor_rollout_ref.actor.ppo_mini_batch_size *= self.own.episodes
        super().__init__(config)

    # --- the run's beginning and end ---

    def on_train_begin(self) -> None:
        """Go on where the checkpoint stopped: counters, training log and W&B run."""
        super().on_train_begin()
        done = self.global_steps - 1
        self.counters |= read_json(self.folder.counters(done)) or {}
        own = self.own
        title = f"{own.model}/{own.method}/seed{own.seed}"
        steps = StepLog(self.folder.root, title, self.training.steps)
        steps.resume_at(done)
        self._replace_row(steps, done)
        described = self.study.model_dump(mode="json")
        tracker = Tracker.start(self.study.name, own.model, own.method, own.seed, described, self.folder.root)
        self.logger = Recorder(self.logger, steps, tracker)

    def _replace_row(self, steps: StepLog, done: int) -> None:
        """An interruption between a checkpoint and its log line would leave a gap in the log."""
        row = read_json(self.folder.row(done))
        if row is not None and done - 1 not in {row["step"] for row in steps.rows()}:
            steps.add(row)

    def on_step_begin(self) -> None:
        """The last step's metrics are written: if they were bad enough, end here."""
        self.monitor.verdict(self._alarms)
        self._began = time.perf_counter()
        super().on_step_begin()

    def on_step_end(self) -> None:
        """End early where somebody asked for it or the token budget is spent."""
        reason = self._reason_to_end()
        if reason is not None:
            if self._saved != self.global_steps:
                self._save_checkpoint()
            write_json(self.folder.ended, {"step": self.global_steps, "reason": reason})
            self.total_training_steps = self.global_steps
        super().on_step_end()

    def _reason_to_end(self) -> str | None:
        if self.folder.stop.exists():
            return "stopped"
        budget = self.training.token_budget
        if budget is not None and self.counters["tokens"] >= budget:
            return "token_budget"
        return "done" if self.global_steps >= self.total_training_steps else None

    # --- a step ---

    def _balance_batch(self, batch: Any, metrics: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        self._count_missing(batch, metrics)
        self._batch = super()._balance_batch(batch, metrics, *args, **kwargs)
        return self._batch

    def _count_missing(self, batch: Any, metrics: dict[str, Any]) -> None:
        """verl only logs a trajectory that failed, and goes on with what is left; RuntimeError where that is little."""
        expected = self.training.questions_per_step * self.training.group_size
        missing = expected - len(sessions(batch.keys, batch.tags))
        metrics["mr_search/missing_meta_episodes"] = self._missing = missing
        limit = self.training.verl.max_missing
        if missing > limit * expected:
            raise RuntimeError(
                f"{missing} of {expected} meta-episodes of step {self.global_steps} are missing, more than "
                f"training.verl.max_missing ({limit}) allows: their errors stand above in this log"
            )

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
        if metas := keep_groups(self.folder.root, self.study, self.own.method, step, fetched):
            self.logger.table(step, "samples", COLUMNS, sample_rows(step, metas, self.study.protocol))
        if self.own.algorithm == "ppo":
            self._put_episode_rewards(batch, fetched)
            return super()._compute_advantage(batch, metrics)
        estimate = get_adv_estimator_fn(self.config.algorithm.adv_estimator)
        values_BT, returns_BT = estimate(
            token_level_rewards=None,
            response_mask=fetched.response_mask_BT,
            config=self.config.algorithm,
            rows=fetched.rows,
            episodes=self.own.episodes,
            episode_mask=self.own.episode_mask,
        )
        if self.training.loss_aggregation == "meta_episode_mean":
            values_BT = (
                values_BT * advantage.row_scale(fetched.rows, self.own.episodes, self.own.row_per_episode)[:, None]
            )
        named = {"advantages": values_BT, "returns": returns_BT}
        nested = {name: response_to_nested(value, fetched.response_mask) for name, value in named.items()}
        fields = TensorDict(nested, batch_size=len(batch))
        return tq.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=fields)

    def _put_episode_rewards(self, batch: Any, fetched: Fetched) -> None:
        """For the critic: each episode's reward on its last trained token instead of the last one's at the very end."""
        rewards_BT = advantage.episode_end_rewards(
            fetched.rows, fetched.response_mask_BT, self.config.algorithm.gamma, self.own.episode_mask
        )
        fields = TensorDict({"rm_scores": response_to_nested(rewards_BT, fetched.response_mask)}, batch_size=len(batch))
        tq.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=fields)

    def _note(self, fetched: Fetched) -> None:
        """Keep what the log says of this step; RuntimeError once too many searches have failed."""
        self._row = summary(fetched.rows, fetched.facts, self.own.episodes) | {"missing": self._missing}
        for name, value in totals(fetched.rows, fetched.facts).items():
            self.counters[name] += value
        limit = self.study.retrieval.client.max_failure_rate
        failures, searches = self.counters["search_failures"], self.counters["searches"]
        if failures > limit * max(1, searches):
            raise RuntimeError(
                f"{failures} of {searches} searches failed, more than retrieval.client.max_failure_rate ({limit}) "
                "allows: look at the retriever's log"
            )

    def _update_actor(self, batch: Any, metrics: dict[str, Any]) -> Any:
        batch = super()._update_actor(batch, metrics)
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
        row = self._row | {"total_tokens": self.counters["tokens"]}
        self._alarms = self.monitor.look(row | translated(metrics))
        for name, text in self._alarms.items():
            log.warning("step %d: %s: %s", self.global_steps, name, text)
        metrics["mr_search/alarms"] = len(self._alarms)
        metrics |= {f"mr_search/alarm/{name}": 1.0 for name in self._alarms}
        metrics["row"] = row | {"alarms": sorted(self._alarms)}

    # --- validation and checkpoints ---

    def _validate(self) -> dict[str, Any]:
        metrics: dict[str, Any] = super()._validate()
        rewards = [value for name, value in metrics.items() if name.startswith("val-core/") and "/acc/mean@" in name]
        if rewards:
            self._row["validation"] = reward = float(sum(rewards) / len(rewards))
            if self.folder.note_validation(self.global_steps, reward):
                log.info("step %d: best validation so far, %.4f", self.global_steps, reward)
        return metrics

    def _save_checkpoint(self) -> None:
        """The counters and the probe come first, so that a checkpoint which verl calls whole has them."""
        folder = self.folder.checkpoint(self.global_steps)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder.counters(self.global_steps), self.counters)
        row = {"step": self.global_steps - 1, **self._row, "total_tokens": self.counters["tokens"]}
        write_json(self.folder.row(self.global_steps), row | translated(self._metrics) | {"seconds": self._elapsed()})
        if self._batch is not None:
            found = probe.take(self.actor_rollout_wg, self._batch, self.config)
            self.folder.probe(self.global_steps).write_text(json.dumps(found))
        super()._save_checkpoint()
        self._saved = self.global_steps
        self.folder.prune(self.training.checkpoints_kept, self.training.verl.keep_best)

    def _elapsed(self) -> float:
        return time.perf_counter() - self._began
