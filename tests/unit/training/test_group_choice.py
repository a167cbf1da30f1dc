"""Groups that vary, and which of many are trained on."""

from __future__ import annotations

import torch

from mrsearch.training.group_choice import chosen_groups, varied_groups


def test_a_group_varies_where_an_episode_of_several_members_differs() -> None:
    rewards = torch.tensor(
        [
            [[1.0, 0.0], [1.0, 0.0]],
            [[1.0, 0.0], [0.0, 1.0]],  # equal sums
            [[1.0, 1.0], [1.0, 0.0]],  # the second has no second episode
            [[0.0, 0.0], [0.0, 0.5]],
        ]
    )
    exists = torch.ones_like(rewards, dtype=torch.bool)
    exists[2, 1, 1] = False
    assert varied_groups(rewards, exists).tolist() == [False, True, False, True]


def test_groups_that_vary_come_first_and_others_fill_up() -> None:
    varied = [False, True, False, True, True]
    assert chosen_groups(varied, 2) == [1, 3]
    assert chosen_groups(varied, 4) == [0, 1, 3, 4]
    assert chosen_groups([False, False], 1) == [0]
    assert chosen_groups(varied[:1], 3) == [0]
