"""Alarms of verl's trainer about updates and rewards."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

from mrsearch.config.verl import HealthLimits
from mrsearch.training.health import Streaks, Threshold, alarms_of

WINDOW = 10
"""Steps whose mean reward is compared, so that one lucky step is no progress."""
FATAL = ("gradient_norm", "entropy", "kl")
"""Values that must be finite."""


class Monitor:
    """Looks at one row of the training log after the other."""

    def __init__(self, config: HealthLimits) -> None:
        self.config = config
        self._streaks = Streaks()
        self._recent: deque[float] = deque(maxlen=WINDOW)
        self._best, self._since_best = -math.inf, 0

    def look(self, row: Mapping[str, Any]) -> dict[str, str]:
        """Alarms of this step, by name, with their explanation."""
        config = self.config
        alarms = alarms_of(row, self._thresholds())
        for name in FATAL:
            if name in row and not math.isfinite(row[name]):
                alarms[f"{name}_not_finite"] = f"{name} is {row[name]}"
        if config.stall_steps is not None and self._stalled(row) >= config.stall_steps:
            alarms["reward_stalled"] = f"no new best reward for {self._since_best} steps (stall_steps)"
        self._streaks.add(alarms)
        return alarms

    def verdict(self, alarms: Mapping[str, str]) -> str | None:
        """Why the training should end now; None where the configuration says warn, or no alarm has lasted."""
        if self.config.action == "warn":
            return None
        return self._streaks.verdict(alarms, self.config.patience, "training.verl.health")

    def _thresholds(self) -> list[Threshold]:
        config = self.config
        return [
            Threshold("entropy_collapsed", "entropy", config.min_entropy, lower=True),
            Threshold("entropy_dissolved", "entropy", config.max_entropy),
            Threshold("short_responses", "generated_tokens", config.min_generated_tokens, lower=True),
            Threshold("truncated", "truncated", config.max_truncated),
            Threshold("invalid_actions", "invalid_actions", config.max_invalid_actions),
            Threshold("nothing_to_learn", "zero_variance_groups", config.max_zero_variance_groups),
        ]

    def _stalled(self, row: Mapping[str, Any]) -> int:
        """Steps since the last new best of the windowed mean reward; a window must be full to set one."""
        self._recent.append(sum(row["reward"]) / len(row["reward"]))
        mean = sum(self._recent) / len(self._recent)
        if len(self._recent) == WINDOW and mean > self._best:
            self._best, self._since_best = mean, 0
        else:
            self._since_best += 1
        return self._since_best
