"""The policy loss against hand-computed values and automatic differentiation."""

import math
import random

import pytest
import torch

from mrsearch.learning.losses import actions_of, kl_penalty, llds, ppo_clip, token_weights


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


def test_a_sum_weights_every_token_alike_and_divides_by_a_constant():
    mask = torch.tensor([[0, 1, 1], [0, 1, 0], [1, 1, 1], [0, 0, 0]], dtype=torch.bool)
    weights = token_weights(mask, torch.tensor([0, 1, 1, 2]), "meta_episode_sum", 10)
    torch.testing.assert_close(weights, mask / (2 * 10))


def by_hand(logprobs, old, advantages, weights, sequences, low, high, dual):
    """Loss, gradient by each log-probability and number of ratios outside, one token after the other."""
    loss, gradient, outside = 0.0, [], 0
    for token, advantage in enumerate(advantages):
        members = [token]
        if sequences is not None:
            members = [index for index, number in enumerate(sequences) if number == sequences[token]]
        ratio = math.exp(sum(logprobs[index] - old[index] for index in members) / len(members))
        bounded = min(max(ratio, 1 - low), 1 + high)
        outside += ratio != bounded
        value, slope = ratio * advantage, ratio * advantage
        if bounded * advantage < value:
            value, slope = bounded * advantage, 0.0
        if sequences is None and dual is not None and advantage < 0 and value < dual * advantage:
            value, slope = dual * advantage, 0.0
        loss -= weights[token] * value
        gradient.append(-weights[token] * slope)
    return loss, gradient, outside


@pytest.mark.parametrize("dual", [None, 1.5, 3.0])
@pytest.mark.parametrize("high", [None, 0.05, 0.5])
@pytest.mark.parametrize("level", ["token", "sequence"])
def test_ratios_clipped_by_each_rule_are_those_of_a_loop(level, high, dual):
    generator = random.Random(f"{level}{high}{dual}")
    touched = set()
    for _ in range(50):
        sequences = [number for number in range(4) for _ in range(generator.randint(1, 5))]
        old = [generator.uniform(-3, -0.1) for _ in sequences]
        width = generator.choice([0.1, 0.5, 1.5])
        shift = [generator.gauss(0, width) for _ in range(4)]
        current = [value + shift[n] + generator.gauss(0, 0.1) for value, n in zip(old, sequences, strict=True)]
        advantages = [generator.choice([-1.5, -0.5, 0.0, 0.5, 2.0]) for _ in sequences]
        weights = [generator.uniform(0.1, 1) for _ in sequences]
        logprobs = torch.tensor(current, dtype=torch.float64, requires_grad=True)
        rest = [torch.tensor(values, dtype=torch.float64) for values in (old, advantages, weights)]
        numbers = torch.tensor(sequences) if level == "sequence" else None
        result = ppo_clip(logprobs, *rest, 0.2, clip_range_high=high, dual_clip=dual, sequence_K=numbers)
        result.loss.backward()
        numbers = sequences if level == "sequence" else None
        loss, gradient, outside = by_hand(
            current, old, advantages, weights, numbers, 0.2, 0.2 if high is None else high, dual
        )
        assert result.loss.item() == pytest.approx(loss, abs=1e-12)
        assert logprobs.grad.tolist() == pytest.approx(gradient, abs=1e-12)
        assert result.clipped.item() == outside
        touched |= {value == 0 for value, advantage in zip(gradient, advantages, strict=True) if advantage}
    assert touched == {True, False}


def test_an_action_is_a_run_of_trained_tokens():
    mask = torch.tensor([[0, 1, 1, 0, 1], [1, 1, 0, 0, 1], [0, 0, 0, 0, 0]])
    assert actions_of(mask).tolist() == [0, 0, 1, 2, 2, 3]
    assert actions_of(torch.zeros(2, 3)).tolist() == []


def test_llds_penalises_tokens_that_fell_in_actions_that_fell():
    """By hand: the first action fell by 0.5 + 0.25 - 0.125, the second rose by 0.25 although a token fell."""
    old = torch.zeros(5)
    logprobs = torch.tensor([-0.5, 0.125, -0.25, -0.25, 0.5], requires_grad=True)
    penalty = llds(logprobs, old, torch.tensor([0, 0, 0, 1, 1]))
    assert penalty.tolist() == [0.5, 0.0, 0.25, 0.0, 0.0]
    penalty.sum().backward()
    assert logprobs.grad.tolist() == [-1.0, 0.0, -1.0, 0.0, 0.0]


def test_llds_is_zero_at_the_policy_that_sampled():
    logprobs = torch.tensor([-1.0, -2.0], requires_grad=True)
    penalty = llds(logprobs, logprobs.detach(), torch.tensor([0, 0])).sum()
    penalty.backward()
    assert (penalty.item(), logprobs.grad.tolist()) == (0.0, [0.0, 0.0])
    assert llds(logprobs[:0], logprobs[:0], torch.zeros(0, dtype=torch.long)).tolist() == []


def test_llds_against_loops_over_actions():
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        mask = torch.rand(3, 12, generator=generator) < 0.6
        old, new = torch.randn(3, 12, generator=generator), torch.randn(3, 12, generator=generator)
        expected = []
        for b in range(3):
            run: list[float] = []
            for t in range(13):
                if t < 12 and mask[b, t]:
                    run.append(float(old[b, t] - new[b, t]))
                elif run:
                    expected += [max(0.0, fall) if sum(run) > 0 else 0.0 for fall in run]
                    run = []
        torch.testing.assert_close(llds(new[mask], old[mask], actions_of(mask)), torch.tensor(expected))
