"""The learning rate of a policy training's steps."""

from __future__ import annotations

from mrsearch.config.training import PolicyTraining
from mrsearch.training.cosine import half_cosine


def learning_rate(config: PolicyTraining, step: int, tokens: int) -> float:
    """The rate of step `step` (the first is 0), before which the training had processed `tokens`.

    Linear warm-up; then constant, or half a cosine down to `min_lr_ratio` over the steps that are left, as verl has it,
    or over the token budget where that is nearer its end.
    """
    rate = config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup_steps))
    if config.lr_scheduler_type == "constant":
        return rate
    share = (step + 1 - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    if config.token_budget is not None:
        share = max(share, tokens / config.token_budget)
    return rate * half_cosine(min(1.0, max(0.0, share)), config.min_lr_ratio)
