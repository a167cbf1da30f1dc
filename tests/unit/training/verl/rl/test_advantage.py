"""Advantages of verl's rows against an implementation that shares no line with them."""

import random

import pytest
import torch

from mrsearch.training.verl.rl.advantage import BatchRow, episode_end_rewards, row_scale, token_advantages


def random_batch(seed):
    """Rows of random groups: members missing, episodes missing, several rows per member, padding among them."""
    rng = random.Random(seed)
    episodes = rng.randint(1, 4)
    rows, masks = [], []
    for group in range(rng.randint(1, 4)):
        for member in range(rng.randint(1, 5)):
            if rng.random() < 0.2:
                continue
            count = rng.randint(1, episodes)
            rewards = [float(rng.random() < 0.5) if rng.random() < 0.7 else rng.random() for _ in range(count)]
            for _ in range(rng.choice([1, 1, 2])):
                spans, mask = [], []
                for episode in range(count):
                    length = rng.randint(1, 5)
                    spans.append([episode, len(mask), len(mask) + length])
                    mask += [rng.randint(0, 1) for _ in range(length)]
                rows.append(BatchRow(f"g{group}", f"{member:06d}", rewards, spans))
                masks.append(mask)
    for _ in range(rng.randint(0, 3)):  # verl copies a real row's facts into its padding
        source = rng.choice(rows) if rows else BatchRow("g", "0", [1.0], [[0, 0, 1]])
        rows.append(BatchRow("padding", str(rng.random()), source.rewards, source.spans, padding=True))
        masks.append([0])
    order = list(range(len(rows)))
    rng.shuffle(order)
    width = max((len(mask) for mask in masks), default=1)
    padded = torch.tensor([masks[n] + [0] * (width - len(masks[n])) for n in order] or torch.zeros(0, 1).tolist())
    return [rows[n] for n in order], padded.view(len(order), width), episodes, rng


def brute_force(rows, masks, gamma, episode_mask):
    """Equations 7 and 8 of the paper, one token at a time."""
    out = torch.zeros(masks.shape, dtype=torch.float64)
    for b, row in enumerate(rows):
        if row.padding:
            continue
        others = {}
        for other in rows:
            if not other.padding and other.group == row.group and other.member != row.member:
                others[other.member] = other.rewards
        for episode, first, end in row.spans:
            value = 0.0
            for later in range(episode, len(row.rewards)):
                peers = [rewards[later] for rewards in others.values() if len(rewards) > later]
                centred = row.rewards[later] - sum(peers) / len(peers) if peers else 0.0
                value += gamma ** (later - episode) * episode_mask[later] * centred
            for token in range(first, end):
                if masks[b, token]:
                    out[b, token] = value
    return out


@pytest.mark.parametrize("seed", range(200))
def test_turn_level_leave_one_out_equals_brute_force(seed):
    rows, masks, episodes, rng = random_batch(seed)
    gamma = rng.choice([0.0, 0.5, 1.0])
    mask = [rng.randint(0, 1) for _ in range(episodes)]
    found = token_advantages(rows, masks, "mr_search", episodes, gamma, mask)
    assert torch.allclose(found.double(), brute_force(rows, masks, gamma, mask), atol=1e-6)


def test_worked_example():
    rewards = [[0.0, 1.0], [0.0, 0.0], [1.0, 1.0]]
    rows = [BatchRow("q", str(n), each, [[0, 0, 2], [1, 2, 4]]) for n, each in enumerate(rewards)]
    masks = torch.tensor([[1, 0, 1, 1]] * 3)
    found = token_advantages(rows, masks, "mr_search", 2)
    assert found.tolist() == [[0, 0, 0.5, 0.5], [-1.5, 0, -1, -1], [1.5, 0, 0.5, 0.5]]


def test_padding_alone_trains_nothing():
    rows = [BatchRow("p", "0", [1.0], [[0, 0, 1]], padding=True)]
    assert token_advantages(rows, torch.ones(1, 1), "mr_search", 1).tolist() == [[0.0]]


@pytest.mark.parametrize("name", ["mr_search", "mt_grpo", "grpo", "rloo", "reinforce_plus_plus", "reinforce", "raft"])
def test_every_estimator_ignores_padding_and_the_order_of_rows(name):
    rows, masks, episodes, rng = random_batch(11)
    found = token_advantages(rows, masks, name, episodes)
    real = [n for n, row in enumerate(rows) if not row.padding]
    rng.shuffle(real)
    again = token_advantages([rows[n] for n in real], masks[real], name, episodes)
    assert torch.allclose(found[real], again, atol=1e-6)


def test_rows_of_one_meta_episode_together_weigh_as_one():
    rows = [BatchRow("q", "0", [1.0, 0.0], [], weight=0.25), BatchRow("q", "0", [1.0, 0.0], [], weight=0.75)]
    assert row_scale(rows, 2, True, "meta_episode_mean").tolist() == [0.5, 1.5]
    assert row_scale(rows, 2, True, "meta_episode_sum").tolist() == [2.0, 2.0]
    for per_episode_rows, aggregation in (
        (False, "meta_episode_mean"),
        (False, "meta_episode_sum"),
        (True, "token_mean"),
    ):
        assert row_scale(rows, 2, per_episode_rows, aggregation).tolist() == [1.0, 1.0]


def test_a_critic_gets_each_reward_on_the_last_trained_token_of_its_episode():
    rows = [
        BatchRow("q", "0", [1.0, 0.5], [[0, 0, 3], [1, 3, 6]]),
        BatchRow("p", "0", [1.0], [[0, 0, 1]], padding=True),
    ]
    masks = torch.tensor([[1, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0]])
    assert episode_end_rewards(rows, masks).tolist() == [[0, 1, 0, 0, 0.5, 0], [0] * 6]
    assert episode_end_rewards(rows, masks, 1.0, [0, 1]).tolist() == [[0, 0, 0, 0, 0.5, 0], [0] * 6]
