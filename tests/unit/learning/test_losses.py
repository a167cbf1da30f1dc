"""The policy loss against hand-computed values and automatic differentiation."""

import math

import torch

from mrsearch.learning.losses import kl_penalty, ppo_clip, token_weights


def test_ratio_one_gives_the_plain_policy_gradient():
    logprobs = torch.tensor([-1.0, -2.0], requires_grad=True)
    result = ppo_clip(logprobs, logprobs.detach(), torch.tensor([1.0, -3.0]), torch.tensor([0.5, 0.5]), 0.2)
    result.loss.backward()
    assert result.loss.item() == 1.0
    assert logprobs.grad.tolist() == [-0.5, 1.5]
    assert result.clipped.item() == 0


def test_clip_stops_the_gradient_only_in_the_direction_of_the_advantage():
    old = torch.zeros(4)
    logprobs = torch.tensor([math.log(1.5), math.log(1.5), math.log(0.5), math.log(0.5)], requires_grad=True)
    result = ppo_clip(logprobs, old, torch.tensor([1.0, -1.0, 1.0, -1.0]), torch.ones(4), 0.2)
    result.loss.backward()
    torch.testing.assert_close(result.loss, torch.tensor(-(1.2 - 1.5 + 0.5 - 0.8)))
    torch.testing.assert_close(logprobs.grad, torch.tensor([0.0, 1.5, -0.5, 0.0]))
    assert result.clipped.item() == 4


def test_token_mean_weights_every_token_alike():
    mask = torch.tensor([[0, 1, 1], [0, 1, 0]], dtype=torch.bool)
    weights = token_weights(mask, torch.tensor([0, 1]), "token_mean")
    torch.testing.assert_close(weights, mask / 3)


def test_meta_episode_mean_weights_every_meta_episode_alike():
    mask = torch.tensor([[0, 1, 1], [0, 1, 0], [1, 1, 1], [0, 0, 0]], dtype=torch.bool)
    weights = token_weights(mask, torch.tensor([0, 1, 1, 2]), "meta_episode_mean")
    assert weights[0].tolist() == [0.0, 0.25, 0.25]
    assert weights[1].tolist() == [0.0, 0.125, 0.0]
    assert weights[2].tolist() == [0.125, 0.125, 0.125]
    torch.testing.assert_close(weights.sum(), torch.tensor(1.0))


def test_kl_is_zero_at_the_reference_and_positive_elsewhere():
    reference = torch.tensor([-1.0, -2.0])
    weights = torch.tensor([0.5, 0.5])
    assert kl_penalty(reference, reference, weights).item() == 0.0
    assert kl_penalty(reference + 0.3, reference, weights).item() > 0
