"""Alarms: when a training looks ill."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

from mrsearch.config.verl import HealthLimits

WINDOW = 10
"""Steps whose mean reward is compared, so that one lucky step is no progress."""
FATAL = ("gradient_norm", "entropy", "kl")
"""Values that must be finite."""


class Unhealthy(RuntimeError):
    """The training is ill and ends; the message names the alarm, its value and the threshold."""


class Monitor:
    """Looks at one row of the training log after the other."""

    def __init__(self, config: HealthLimits) -> None:
        self.config = config
        self._streaks: Counter[str] = Counter()
        self._recent: deque[float] = deque(maxlen=WINDOW)
        self._best, self._since_best = -math.inf, 0

    def look(self, row: Mapping[str, Any]) -> dict[str, str]:
        """Alarms of this step, by name, with their explanation."""
        config = self.config
        alarms = dict(self._thresholds(row))
        for name in FATAL:
            if name in row and not math.isfinite(row[name]):
                alarms[f"{name}_not_finite"] = f"{name} is {row[name]}"
        if config.stall_steps is not None and self._stalled(row) >= config.stall_steps:
            alarms["reward_stalled"] = f"no new best reward for {self._since_best} steps (stall_steps)"
        for name in list(self._streaks):
            if name not in alarms:
                del self._streaks[name]
        self._streaks.update(alarms.keys())
        return alarms

    def verdict(self, alarms: Mapping[str, str]) -> None:
        """Unhealthy where the configuration says stop and an alarm has lasted for `patience` steps."""
        if self.config.action == "warn":
            return
        for name, text in alarms.items():
            if self._streaks[name] >= self.config.patience:
                raise Unhealthy(
                    f"{name} for {self._streaks[name]} steps: {text}. Look at the training log, then change the "
                    "method or training.verl.health"
                )

    def _thresholds(self, row: Mapping[str, Any]) -> list[tuple[str, str]]:
        config = self.config
        watched = [
            ("entropy_collapsed", "entropy", config.min_entropy, True),
            ("entropy_dissolved", "entropy", config.max_entropy, False),
            ("short_responses", "generated_tokens", config.min_generated_tokens, True),
            ("truncated", "truncated", config.max_truncated, False),
            ("invalid_actions", "invalid_actions", config.max_invalid_actions, False),
            ("nothing_to_learn", "zero_variance_groups", config.max_zero_variance_groups, False),
        ]
        alarms = []
        for name, key, limit, lower in watched:
            if limit is None or key not in row:
                continue
            if row[key] < limit if lower else row[key] > limit:
                alarms.append((name, f"{key} ({row[key]:.4g}) is {'below' if lower else 'above'} {limit:g}"))
        return alarms

    def _stalled(self, row: Mapping[str, Any]) -> int:
        """Steps since the last new best of the windowed mean reward; a window must be full to set one."""
        self._recent.append(sum(row["reward"]) / len(row["reward"]))
        mean = sum(self._recent) / len(self._recent)
        if len(self._recent) == WINDOW and mean > self._best:
            self._best, self._since_best = mean, 0
        else:
            self._since_best += 1
        return self._since_best
