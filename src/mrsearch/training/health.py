"""Alarms of a training, whoever trains: which limits a row of the log crosses, and when that ends the training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mrsearch.config.reasoning import ReasoningLimits


class Unhealthy(RuntimeError):
    """The training is ill and ends; the message names the alarm, its value and the threshold."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """A limit of one column of the training log."""

    alarm: str
    column: str
    limit: float | None
    """None is not watched."""
    lower: bool = False
    """Whether the column must not fall below the limit, instead of rise above it."""

    def crossed(self, row: Mapping[str, Any]) -> str | None:
        """What is wrong, in words; None where nothing is, or where the row has no such column."""
        if self.limit is None or self.column not in row:
            return None
        value = row[self.column]
        if not (value < self.limit if self.lower else value > self.limit):
            return None
        return f"{self.column} ({value:.4g}) is {'below' if self.lower else 'above'} {self.limit:g}"


def alarms_of(row: Mapping[str, Any], thresholds: Iterable[Threshold]) -> dict[str, str]:
    """Alarms of a row by name, with their explanation."""
    texts = ((threshold.alarm, threshold.crossed(row)) for threshold in thresholds)
    return {alarm: text for alarm, text in texts if text is not None}


class HealthMonitor(Protocol):
    """Looks at one row of the training log after the other."""

    def look(self, row: Mapping[str, Any]) -> dict[str, str]:
        """Alarms of this step, by name, with their explanation."""
        ...

    def verdict(self, alarms: Mapping[str, str]) -> str | None:
        """Why the training should end after these alarms; None where it should not."""
        ...


def look_all(monitors: Iterable[HealthMonitor], row: Mapping[str, Any]) -> dict[str, str]:
    """Alarms that all monitors raise at this step, by name, with their explanation."""
    return {name: text for monitor in monitors for name, text in monitor.look(row).items()}


def illness(monitors: Iterable[HealthMonitor], alarms: Mapping[str, str]) -> str | None:
    """The first reason of a monitor to end the training after these alarms; None where there is none."""
    verdicts = (monitor.verdict(alarms) for monitor in monitors)
    return next((verdict for verdict in verdicts if verdict is not None), None)


def require_health(monitors: Sequence[HealthMonitor], rows: Iterable[Mapping[str, Any]]) -> None:
    """Show the monitors a training's earlier rows before it goes on; Unhealthy where it ended after the last of them,
    and would again: another step would be trained only to end there."""
    alarms: dict[str, str] = {}
    step = 0
    for row in rows:
        alarms, step = look_all(monitors, row), row["step"] + 1
    if (reason := illness(monitors, alarms)) is not None:
        raise Unhealthy(f"the training does not go on after step {step}: {reason}")


class Streaks:
    """How many steps in a row each alarm has lasted."""

    def __init__(self) -> None:
        self._lengths: Counter[str] = Counter()

    def add(self, alarms: Mapping[str, str]) -> None:
        """The alarms of one more step."""
        self._lengths = Counter({name: self._lengths[name] + 1 for name in alarms})

    def verdict(self, alarms: Mapping[str, str], patience: int, key: str) -> str | None:
        """Why the training should end after these alarms: one of them has lasted for `patience` steps. None where none
        has. `key` holds the limits in the study."""
        for name, text in alarms.items():
            if self._lengths[name] >= patience:
                return (
                    f"{name} for {self._lengths[name]} steps: {text}. Look at the training log, then change the "
                    f"method or {key}"
                )
        return None


class ReasoningMonitor:
    """Looks at the columns of `agent.reasoning.reasoning_shares`, one row of the training log after the other."""

    def __init__(self, config: ReasoningLimits) -> None:
        self.config = config
        self._thresholds = () if config.action == "off" else tuple(_thresholds(config))
        self._streaks = Streaks()

    def look(self, row: Mapping[str, Any]) -> dict[str, str]:
        """Alarms of this step, by name, with their explanation."""
        alarms = alarms_of(row, self._thresholds)
        self._streaks.add(alarms)
        return alarms

    def verdict(self, alarms: Mapping[str, str]) -> str | None:
        """Why the training should end now; None where the configuration says so, or no alarm has lasted."""
        if self.config.action != "stop":
            return None
        return self._streaks.verdict(alarms, self.config.patience, "training.reasoning")


def _thresholds(config: ReasoningLimits) -> Iterable[Threshold]:
    """One for each limit: `max_` or `min_` with the column's name."""
    for key, limit in config.model_dump(exclude={"action", "patience"}).items():
        kind, _, column = key.partition("_")
        yield Threshold(f"{'low' if kind == 'min' else 'high'}_{column}", column, limit, lower=kind == "min")
