"""The rate of every step, by hand."""

from __future__ import annotations

import pytest

from mrsearch.config.training import PolicyTraining
from mrsearch.training.rl.learning_rate import learning_rate


def test_constant_after_the_warm_up() -> None:
    config = PolicyTraining(learning_rate=1.0, warmup_steps=4, steps=10)
    assert [learning_rate(config, step, 0) for step in (0, 1, 3, 4, 9)] == [0.25, 0.5, 1.0, 1.0, 1.0]


def test_half_a_cosine_over_the_steps_after_the_warm_up() -> None:
    config = PolicyTraining(learning_rate=2.0, warmup_steps=2, steps=6, lr_scheduler_type="cosine", min_lr_ratio=0.2)
    # Quarters of half a cosine: 1, 0.8536, 0.5, 0.1464, 0 above 0.2 of the peak.
    shares = [0.5, 1.0, 0.2 + 0.8 * 0.853553, 0.2 + 0.8 * 0.5, 0.2 + 0.8 * 0.146447, 0.2]
    assert [learning_rate(config, step, 0) for step in range(6)] == pytest.approx([2 * share for share in shares])


def test_whichever_budget_is_nearer_its_end_counts() -> None:
    config = PolicyTraining(
        learning_rate=1.0, steps=1000, token_budget=400, lr_scheduler_type="cosine", min_lr_ratio=0.0
    )
    assert learning_rate(config, 9, 200) == pytest.approx(0.5)
    assert learning_rate(config, 9, 399) < 1e-4
    assert learning_rate(config, 499, 100) == pytest.approx(0.5)


def test_verl_lowers_the_rate_over_steps_alone() -> None:
    keys = {"backend": "verl", "lr_scheduler_type": "cosine", "token_budget": 1000}
    with pytest.raises(ValueError, match=r"token_budget \(1,000\) needs backend: local"):
        PolicyTraining.model_validate(keys)
