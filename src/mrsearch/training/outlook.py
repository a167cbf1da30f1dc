"""How much of its budget a training has spent, and how long the rest takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from mrsearch.training.run import TrainingRun

RECENT = 20
"""Steps whose pace the rest is expected to keep: generations get longer or shorter while a policy learns."""
Row = Mapping[str, Any]
"""One step of the training log."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What ends a training: its steps, or its tokens where those are spent first."""

    steps: int
    tokens: int | None = None

    @classmethod
    def of(cls, run: TrainingRun) -> Budget:
        """The budget of a training; supervised ones have steps alone."""
        return cls(run.steps, run.study.training.token_budget if run.stage == "train" else None)

    def spent(self, row: Row) -> tuple[float, str]:
        """The share that is spent after a step, from 0 to 1, and of what: whichever of the two is nearer its end."""
        of_steps = (row["step"] + 1) / self.steps
        if self.tokens is None or (of_tokens := row.get("total_tokens", 0) / self.tokens) <= of_steps:
            return min(1.0, of_steps), "its steps"
        return min(1.0, of_tokens), f"{self.tokens:,} tokens"


def outlook(rows: Sequence[Row], budget: Budget) -> str:
    """`38 % of 200,000 tokens, 0:02:10 left`, after the last of `rows`; the time once two steps tell of the pace."""
    share, kind = budget.spent(rows[-1])
    text = f"{share:.0%} of {kind}".replace("%", " %")
    recent = rows[-RECENT - 1 :]
    gained = share - budget.spent(recent[0])[0]
    if gained <= 0:
        return text
    seconds = sum(row.get("seconds", 0.0) for row in recent[1:])
    return f"{text}, {timedelta(seconds=round((1 - share) / gained * seconds))} left"
