"""Credit of turns against a worked example and loops."""

from __future__ import annotations

import math
import random

import pytest
import torch

from mrsearch.learning.turns import turn_advantages, turn_credit


def test_worked_example() -> None:
    """Gains 1 and 3 of one member, 2 of the other: mean 2, deviations -1, 1, 0, standard deviation 1."""
    gains = torch.tensor([[[1.0, 3.0, 0.0]], [[2.0, 0.0, 0.0]]])
    exists = torch.tensor([[[True, True, False]], [[True, False, False]]])
    credit = turn_credit(gains, exists, gamma=0.5)
    torch.testing.assert_close(credit, torch.tensor([[[-0.5, 1.0, 0.0]], [[0.0, 0.0, 0.0]]]), atol=1e-5, rtol=0)


def test_a_turn_has_the_advantage_of_its_episode_and_its_own_credit() -> None:
    values = turn_advantages(
        torch.tensor([0.5, -1.0]), torch.tensor([0, 0, 1]), torch.tensor([0.25, 0.0, 2.0]), torch.tensor([1, 0, 1])
    )
    assert values.tolist() == [0.75, 0.0, 1.0]
    assert turn_advantages(torch.tensor([0.5, -1.0]), torch.tensor([0, 0, 1])).tolist() == [0.5, 0.5, -1.0]


def test_a_single_gain_and_equal_gains_give_no_credit() -> None:
    alone = torch.zeros(2, 1, 2, dtype=torch.bool)
    alone[0, 0, 0] = True
    assert turn_credit(torch.full((2, 1, 2), 3.0), alone).abs().sum() == 0
    assert turn_credit(torch.full((2, 1, 2), 0.25), torch.ones(2, 1, 2, dtype=torch.bool)).abs().sum() == 0


@pytest.mark.parametrize("seed", range(30))
def test_credit_equals_loops(seed: int) -> None:
    rng = random.Random(seed)
    members, episodes, turns = rng.randint(1, 4), rng.randint(1, 3), rng.randint(1, 4)
    gamma = rng.choice([0.0, 0.5, 1.0])
    gains = [[[rng.gauss(0, 1) for _ in range(turns)] for _ in range(episodes)] for _ in range(members)]
    # The turns with a gain come first in their episode.
    counts = [[rng.randint(0, turns) for _ in range(episodes)] for _ in range(members)]
    flat = [gains[g][n][t] for g in range(members) for n in range(episodes) for t in range(counts[g][n])]
    mean = sum(flat) / max(1, len(flat))
    deviation = math.sqrt(sum((gain - mean) ** 2 for gain in flat) / max(1, len(flat) - 1))
    exists = torch.tensor([[[t < count for t in range(turns)] for count in member] for member in counts])
    credit = turn_credit(torch.tensor(gains, dtype=torch.float64), exists, gamma)
    for g in range(members):
        for n in range(episodes):
            for t in range(turns):
                expected = 0.0
                for later in range(t, counts[g][n]) if len(flat) > 1 else ():
                    expected += gamma ** (later - t) * (gains[g][n][later] - mean) / (deviation + 1e-6)
                assert credit[g, n, t].item() == pytest.approx(expected)
