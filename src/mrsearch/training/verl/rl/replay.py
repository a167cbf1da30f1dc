"""Which groups a step of verl trains on: all of those that began before it, or those that can teach something.

verl makes a buffer by its name in `trainer.v1.sampler.custom_sampler`, in the trainer's process.
"""

from __future__ import annotations

import time
from collections import Counter
from hashlib import sha256
from typing import Any

from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer, ReplayBufferAsync

from mrsearch.training.group_choice import chosen_groups, varied_groups
from mrsearch.training.verl.rl.advantage import group_tensors
from mrsearch.training.verl.rl.batches import FetchedBatch, fetch


class QuestionBuffer(ReplayBufferAsync):
    """verl's, but that every group is trained on: verl's throws away, uncounted, groups in which a meta-episode failed
    and those that are too old. How old they get is bounded by `max_off_policy_strategy: wait`.
    """

    questions: tuple[str, ...] = ()
    """Questions of the step, by their ids in it."""

    def _terminal_eviction_reasons(
        self, global_steps: int, partition_id: str
    ) -> tuple[set[str], set[str], set[str], Counter[Any]]:
        return set(), set(), set(), Counter()

    def _select_prompt_uids(self, partition_id: str, *args: Any, **kwargs: Any) -> Any:
        selected = super()._select_prompt_uids(partition_id, *args, **kwargs)
        if partition_id == "train":
            self.questions = tuple(selected[0])
        return selected


class VariedBuffer(ReplayBuffer):
    """verl's for steps that generate alone, but that groups without variance make room for others while there are
    batches left, judged by every episode's reward; and that what is not trained on is counted.

    sampler_kwargs: `max_num_gen_batches`, and `episodes` of a meta-episode.
    """

    generated = 0
    """Groups that the step generated."""
    discarded: FetchedBatch | None = None
    """Rows of those that it does not train on."""

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> tuple[KVBatchMeta, dict[str, Any]]:
        """verl's for validations. For a training step, `batch_size` groups once no more are generated."""
        if partition_id != "train":
            batch: tuple[KVBatchMeta, dict[str, Any]] = super().sample(global_steps, partition_id, batch_size)
            return batch
        batches, most = 1, int(self.sampler_kwargs["max_num_gen_batches"])
        while True:
            groups = self._ended_groups(partition_id, global_steps)
            varied = list(groups.values())
            if sum(varied) >= batch_size or batches >= most:
                break
            self.refill_fn(batch_size)
            batches += 1
        names, positions = list(groups), chosen_groups(varied, batch_size)
        trained_groups = [names[position] for position in positions]
        discarded_groups = set(names) - set(trained_groups)
        rows = self._rows_of(partition_id, discarded_groups)
        self.generated, self.discarded = len(names), fetch(rows) if rows.keys else None
        self._clear_groups(partition_id, discarded_groups)
        return self._materialize_batch(partition_id, trained_groups, dict(self.partitions[partition_id])), {}

    def _ended_groups(self, partition_id: str, step: int) -> dict[str, bool]:
        """The step's groups once none is under way, and whether each varies; in an order that hangs on the step and the
        questions' ids, those without a row last."""
        last_debug_time = time.time()
        while True:
            self._sync_metadata_from_transfer_queue()
            if not self.pending_keys[partition_id] and not self.running_keys[partition_id]:
                break
            last_debug_time = self._wait_for_next_poll(partition_id, last_debug_time)
        groups = sorted(self.finished_keys[partition_id] | self.failure_keys[partition_id])
        rows = self._rows_of(partition_id, set(groups))
        if not rows.keys:
            return dict.fromkeys(groups, False)
        fetched = fetch(rows)
        rewards_QGN, exists_QGN, positions = group_tensors(fetched.rows, int(self.sampler_kwargs["episodes"]))
        varied = varied_groups(rewards_QGN, exists_QGN).tolist()
        questions = {row.group: fact["question"] for row, fact in zip(fetched.rows, fetched.facts, strict=True)}
        group_numbers = {group: q for (group, _), (q, _) in positions.items()}
        order = sorted(group_numbers, key=lambda group: sha256(f"{step}/{questions[group]}".encode()).digest())
        return {group: varied[group_numbers[group]] for group in order} | {
            group: False for group in groups if group not in group_numbers
        }

    def _rows_of(self, partition_id: str, groups: set[str]) -> KVBatchMeta:
        """All rows of these groups."""
        tags = {key: tag for key, tag in self.partitions[partition_id].items() if key.split("_")[0] in groups}
        return KVBatchMeta(partition_id=partition_id, keys=list(tags), tags=list(tags.values()))
