"""Advantages of turns from those of their episodes, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from mrsearch.config.training import Train, TurnCredit
from mrsearch.training.turns import MemberTurns, group_turn_advantages, turn_summary

FIRST = MemberTurns(episodes=[0, 0, 1], unmasked=[0, 1, 1], gains=[1.0, None, None])
SECOND = MemberTurns(episodes=[0, 1, 1, 1], unmasked=[1, 1, 1, 1], gains=[None, 2.0, 3.0, None])
ADVANTAGES = torch.tensor([[0.5, 1.0], [-0.5, -1.0]])


def test_credit_is_standardised_within_the_group_and_summed_within_the_episode() -> None:
    """Gains 1, 2, 3: standardised -1, 0, 1; the second member's second episode sums 0 + 1."""
    train = Train(algorithm="mr_search", turn_credit=TurnCredit(weight=0.5))
    first, second = group_turn_advantages([FIRST, SECOND], ADVANTAGES, train)
    assert first.tolist() == pytest.approx([0.0, 0.5, 1.0], abs=1e-5)
    assert second.tolist() == pytest.approx([-0.5, -0.5, -0.5, -1.0], abs=1e-5)
    assert turn_summary([FIRST, SECOND], train) == {"information_gain": 2.0}


def test_masked_turns_have_no_advantage() -> None:
    train = Train(algorithm="mr_search", mask_abnormal_turns=True)
    first, second = group_turn_advantages([FIRST, SECOND], ADVANTAGES, train)
    assert (first.tolist(), second.tolist()) == ([0.0, 0.5, 1.0], [-0.5, -1.0, -1.0, -1.0])
    assert math.isclose(turn_summary([FIRST, SECOND], train)["masked_turns"], 1 / 7)


def test_members_without_a_turn_or_a_gain_are_no_obstacle() -> None:
    train = Train(algorithm="grpo", turn_credit=TurnCredit())
    bare, single = group_turn_advantages([MemberTurns([], []), MemberTurns([0], [1], [None])], ADVANTAGES, train)
    assert (bare.tolist(), single.tolist()) == ([], [-0.5])
    assert turn_summary([], train) == {"information_gain": 0.0}


@pytest.mark.parametrize("keys", [{"turn_credit": {}}, {"mask_abnormal_turns": True}])
def test_algorithms_that_know_no_turns_refuse_them(keys: dict[str, object]) -> None:
    for algorithm in ("sft", "ppo"):
        with pytest.raises(ValueError, match=r"remove .*mask_abnormal_turns"):
            Train(algorithm=algorithm, **keys)
