"""Advantage estimators against the paper's worked example, hand-made groups and brute force."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mrsearch.learning.advantages import ESTIMATORS, advantages, discounted_suffix_sum, leave_one_out


def everywhere(rewards: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(rewards, dtype=torch.bool)


def brute_force(rewards, exists, gamma, mask=None):
    """Equations 7 and 8 written out with loops."""
    members, episodes = len(rewards), len(rewards[0])
    centred = [[0.0] * episodes for _ in range(members)]
    for n in range(episodes):
        for i in range(members):
            others = [rewards[j][n] for j in range(members) if j != i and exists[j][n]]
            if exists[i][n] and others:
                centred[i][n] = (rewards[i][n] - sum(others) / len(others)) * (mask[n] if mask else 1)
    return [
        [
            sum(gamma ** (k - n) * centred[i][k] for k in range(n, episodes)) if exists[i][n] else 0.0
            for n in range(episodes)
        ]
        for i in range(members)
    ]


def test_worked_example():
    rewards = torch.tensor([[0.0, 1.0], [0.0, 0.0], [1.0, 1.0]])
    exists = everywhere(rewards)
    assert leave_one_out(rewards, exists).tolist() == [[-0.5, 0.5], [-0.5, -1.0], [1.0, 0.5]]
    assert advantages("mr_search", rewards, exists).tolist() == [[0.0, 0.5], [-1.5, -1.0], [1.5, 0.5]]
    assert advantages("mr_search", rewards, exists, gamma=0.0).tolist() == [[-0.5, 0.5], [-0.5, -1.0], [1.0, 0.5]]


def test_reinforce_takes_the_batch_as_baseline():
    """Two questions of two members; returns 1, 0, 1, 1 and 1, 0, 1 less their means 3/4 and 2/3."""
    rewards = torch.tensor([[[0.0, 1.0], [0.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]])
    exists = torch.tensor([[[True, True], [True, True]], [[True, True], [True, False]]])
    expected = [[[1 / 4, 1 / 3], [-3 / 4, -2 / 3]], [[1 / 4, 1 / 3], [1 / 4, 0.0]]]
    torch.testing.assert_close(advantages("reinforce", rewards, exists), torch.tensor(expected))
    alone = advantages("reinforce", rewards[:, :, :1], exists[:, :, :1], gamma=0.5).flatten()
    assert alone.tolist() == [-0.25, -0.25, -0.25, 0.75]


def test_missing_episodes_are_left_out_of_the_baseline():
    rewards = torch.tensor([[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    exists = torch.tensor([[True, True], [True, True], [True, False]])
    centred = leave_one_out(rewards, exists)
    assert centred.tolist() == [[1.0, 1.0], [-0.5, -1.0], [-0.5, 0.0]]
    assert advantages("mr_search", rewards, exists).tolist() == [[2.0, 1.0], [-1.5, -1.0], [-0.5, 0.0]]


@pytest.mark.parametrize("algorithm", ["mr_search", "grpo", "rloo", "mt_grpo"])
def test_a_group_of_one_has_no_advantage(algorithm):
    rewards = torch.tensor([[1.0, 0.0, 1.0]])
    assert advantages(algorithm, rewards, everywhere(rewards)).tolist() == [[0.0, 0.0, 0.0]]


def test_the_only_member_with_an_episode_has_no_advantage_there():
    rewards = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    exists = torch.tensor([[True, True], [True, False]])
    assert advantages("mr_search", rewards, exists).tolist() == [[1.0, 0.0], [-1.0, 0.0]]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_agrees_with_brute_force(data):
    members, episodes = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 5))
    gamma = data.draw(st.sampled_from([0.0, 0.5, 0.9, 1.0]))
    cells = st.lists(st.floats(-2, 2, width=32), min_size=episodes, max_size=episodes)
    rewards = data.draw(st.lists(cells, min_size=members, max_size=members))
    lengths = data.draw(st.lists(st.integers(0, episodes), min_size=members, max_size=members))
    exists = [[n < length for n in range(episodes)] for length in lengths]
    mask = data.draw(st.none() | st.lists(st.integers(0, 1), min_size=episodes, max_size=episodes))
    result = advantages(
        "mr_search", torch.tensor(rewards, dtype=torch.float64), torch.tensor(exists), gamma=gamma, episode_mask=mask
    )
    expected = torch.tensor(brute_force(rewards, exists, gamma, mask), dtype=torch.float64)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)


def test_batches_of_groups_are_independent():
    torch.manual_seed(0)
    rewards, exists = torch.rand(7, 5, 3), torch.rand(7, 5, 3) > 0.2
    for algorithm in ("mr_search", "grpo", "rloo", "mt_grpo", "raft"):
        whole = advantages(algorithm, rewards, exists)
        single = torch.stack([advantages(algorithm, rewards[q], exists[q]) for q in range(7)])
        torch.testing.assert_close(whole, single, rtol=0, atol=1e-6)


def test_exploration_mask_drops_the_reward_but_keeps_later_credit():
    rewards = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    result = advantages("mr_search", rewards, everywhere(rewards), episode_mask=(0, 1))
    assert result.tolist() == [[1.0, 1.0], [-1.0, -1.0]]


def test_grpo_scores_the_last_existing_reward():
    rewards = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    exists = torch.tensor([[True, True], [True, True], [True, False]])
    last = torch.tensor([1.0, 0.0, 1.0])
    z = (last - last.mean()) / (last.std() + 1e-6)
    torch.testing.assert_close(advantages("grpo", rewards, exists), torch.stack([z, z], 1) * exists)


def test_rloo_with_one_episode_equals_mr_search():
    rewards = torch.rand(5, 1)
    torch.testing.assert_close(
        advantages("rloo", rewards, everywhere(rewards)), advantages("mr_search", rewards, everywhere(rewards))
    )


def test_mt_grpo_standardises_each_episode():
    rewards = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    column = (rewards - rewards.mean(0)) / (rewards.std(0) + 1e-6)
    torch.testing.assert_close(advantages("mt_grpo", rewards, everywhere(rewards), gamma=0.0), column)


def test_rejection_imitates_what_ended_right():
    rewards = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    exists = torch.tensor([[True, True], [True, True], [True, False]])
    assert advantages("raft", rewards, exists).tolist() == [[1.0, 1.0], [0.0, 0.0], [1.0, 0.0]]


def test_reinforce_pp_is_standardised_over_the_whole_batch():
    torch.manual_seed(1)
    rewards, exists = torch.rand(4, 5, 3), torch.rand(4, 5, 3) > 0.3
    values = advantages("reinforce_plus_plus", rewards, exists, gamma=0.5)[exists]
    assert abs(values.mean()) < 1e-5
    assert abs(values.std(unbiased=False) - 1) < 1e-3


def test_suffix_sum_by_hand():
    assert discounted_suffix_sum(torch.tensor([[1.0, 2.0, 4.0]]), 0.5).tolist() == [[3.0, 4.0, 4.0]]


def test_shapes_and_names_are_checked():
    with pytest.raises(ValueError, match="must have one shape"):
        leave_one_out(torch.zeros(2, 3), torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"'ppo' has no advantage estimator here: known are .*mr_search"):
        advantages("ppo", torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool))
    assert set(ESTIMATORS) == {"mr_search", "mt_grpo", "grpo", "rloo", "reinforce_plus_plus", "reinforce", "raft"}
