"""The groups of a step where the next step's are generated beside it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from verl.trainer.ppo.v1.replay_buffer import ReplayBufferAsync


class QuestionBuffer(ReplayBufferAsync):
    """verl's, but that every group is trained on: verl's throws away, uncounted, groups in which a meta-episode failed
    and those that are too old. How old they get is bounded by `max_off_policy_strategy: wait`.

    verl makes it by its name in `trainer.v1.sampler.custom_sampler`.
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
