"""The local trainer's gradient under each option of the loss, against a loop over rows and tokens."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
import torch
import torch.fx.experimental._config as tracing
from transformers import AutoModelForCausalLM, Qwen2Config

from mrsearch.config.training import PolicyTraining
from mrsearch.learning.losses import token_weights
from mrsearch.training.optimizer import adamw
from mrsearch.training.rl.rollouts import TrainedSequence
from mrsearch.training.rl.updates import policy_loss, update
from mrsearch.training.sequences import pad

OPTIONS: dict[str, dict[str, Any]] = {
    "as the paper": {"dual_clip": None},
    "clip-higher": {"clip_range_high": 0.6},
    "dual clip": {"dual_clip": 1.3},
    "sequence ratio": {"importance_sampling_level": "sequence", "clip_range": 0.05},
    "without length bias": {"loss_aggregation": "meta_episode_sum", "loss_scale_factor": 17},
    "mean over tokens": {"loss_aggregation": "token_mean"},
    "entropy bonus": {"entropy_coeff": 0.3},
    "KL in the loss": {"kl_coef": 0.7},
    "all at once": {
        "clip_range_high": 0.4,
        "importance_sampling_level": "sequence",
        "loss_aggregation": "meta_episode_sum",
        "loss_scale_factor": 5,
        "entropy_coeff": 0.2,
        "kl_coef": 0.4,
    },
}


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Qwen2Config(vocab_size=13, num_key_value_heads=1, max_position_embeddings=64, **sizes)
    made = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for weight in made.parameters():
            weight.mul_(8)  # far from uniform
    return made


@pytest.fixture(scope="module")
def reference(model: Any) -> Any:
    moved = copy.deepcopy(model)
    with torch.no_grad():
        for weight in moved.parameters():
            weight.add_(0.05 * torch.randn(weight.shape))
    return moved


@pytest.fixture(scope="module")
def rows(model: Any) -> list[TrainedSequence]:
    """Three meta-episodes, the last in two rows; the policy has moved since it sampled them."""
    generator = random.Random(3)
    sequences = []
    for meta_episode, length in ((0, 9), (1, 6), (2, 12), (2, 5)):
        tokens = [generator.randrange(13) for _ in range(length)]
        mask = [0, 0] + [generator.choice([0, 1, 1]) for _ in range(length - 3)] + [1]
        advantages = [generator.choice([-1.0, 0.5, 2.0]) * trained for trained in mask]
        with torch.no_grad():
            distribution = torch.log_softmax(model(torch.tensor([tokens])).logits[0].float(), -1)
        old = [0.0] + [distribution[t - 1, tokens[t]].item() + generator.gauss(0, 0.8) for t in range(1, length)]
        sequences.append(TrainedSequence(tokens, mask, old, advantages, meta_episode))
    return sequences


def by_hand(model: Any, reference: Any, rows: list[TrainedSequence], config: PolicyTraining) -> torch.Tensor:
    """The loss, written down once more without any of the project's tensor code."""
    lengths: dict[int, int] = {}
    for row in rows:
        lengths[row.meta_episode] = lengths.get(row.meta_episode, 0) + sum(row.loss_mask)
    total: Any = 0.0
    for row in rows:
        logits = model(torch.tensor([row.token_ids])).logits[0] / config.temperature
        anchors = reference(torch.tensor([row.token_ids])).logits[0].detach() / config.temperature
        trained = [t for t, mask in enumerate(row.loss_mask) if mask]
        chosen = {t: torch.log_softmax(logits[t - 1], -1)[row.token_ids[t]] for t in trained}
        mean = sum(chosen[t].item() - row.logprobs[t] for t in trained) / len(trained)
        for t in trained:
            if config.importance_sampling_level == "sequence":
                ratio = torch.exp(chosen[t] - chosen[t].item() + mean)
            else:
                ratio = torch.exp(chosen[t] - row.logprobs[t])
            low, high = 1 - config.clip_range, 1 + (config.clip_range_high or config.clip_range)
            advantage = row.advantages[t]
            value = min(ratio * advantage, torch.clip(ratio, low, high) * advantage)
            if config.dual_clip and config.importance_sampling_level == "token" and advantage < 0:
                value = max(value, torch.tensor(config.dual_clip * advantage))
            p = torch.softmax(logits[t - 1], -1)
            entropy = -sum(q * torch.log(q) for q in p)
            gap = torch.log_softmax(anchors[t - 1], -1)[row.token_ids[t]] - chosen[t]
            value = value + config.entropy_coeff * entropy - config.kl_coef * (torch.exp(gap) - gap - 1)
            share = {
                "meta_episode_mean": 1 / (len(lengths) * lengths[row.meta_episode]),
                "token_mean": 1 / sum(lengths.values()),
                "meta_episode_sum": 1 / (len(lengths) * (config.loss_scale_factor or 1)),
            }[config.loss_aggregation]
            total = total - share * value
    return total


def gradient(model: Any, loss: torch.Tensor) -> torch.Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat([weight.grad.flatten() for weight in model.parameters()])


def of_the_trainer(model: Any, reference: Any, rows: list[TrainedSequence], config: PolicyTraining) -> torch.Tensor:
    mask = pad([row.loss_mask for row in rows], torch.bool)
    members = torch.tensor([row.meta_episode for row in rows])
    weights = token_weights(mask, members, config.loss_aggregation, config.loss_scale_factor)
    shares = [weights[number, : len(row.token_ids)] for number, row in enumerate(rows)]
    loss, _ = policy_loss(model, rows, shares, config, reference if config.kl_coef else None)
    return loss


@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_gives_the_gradient_of_its_formula(name: str, model: Any, reference: Any, rows: Any) -> None:
    config = PolicyTraining(temperature=0.8, **OPTIONS[name])
    ours, loop = (function(model, reference, rows, config) for function in (of_the_trainer, by_hand))
    torch.testing.assert_close(ours, loop, rtol=1e-5, atol=1e-6)
    expected, computed = gradient(model, loop), gradient(model, ours)
    assert expected.norm() > 0.01
    assert (computed - expected).norm() < 1e-4 * expected.norm()


def test_each_option_changes_the_gradient(model: Any, reference: Any, rows: Any) -> None:
    configs = [PolicyTraining(temperature=0.8, **options) for options in OPTIONS.values()]
    gradients = [gradient(model, of_the_trainer(model, reference, rows, config)) for config in configs]
    for number, one in enumerate(gradients):
        for another in gradients[:number]:
            assert (one - another).norm() > 1e-3 * one.norm()


STEP = {"train_batch_size": 3, "mini_batch_size": 3, "group_size": 1, "learning_rate": 0.01, "entropy_coeff": 0.1}
"""One optimizer step over all rows."""
SAVING = {"gradient_checkpointing": True, "logits_chunk": 3, "max_token_len_per_gpu": 20}
"""Every way to save memory; the rows of 5, 6, 9 and 12 tokens take three passes."""


def updated(
    model: Any, rows: list[TrainedSequence], local: dict[str, Any]
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """Weights after one update of a copy, and what is logged."""
    own, config = copy.deepcopy(model).eval(), PolicyTraining(**STEP, local=local)
    logged = update(own, adamw(own, config), rows, config, step=0, seed=0, rate=config.learning_rate, llds_coef=0.1)
    return own.state_dict(), logged


def test_saving_memory_leaves_the_update_as_it_is(model: Any, rows: list[TrainedSequence]) -> None:
    (plain, logged), (saving, also) = updated(model, rows, {}), updated(model, rows, SAVING)
    assert also == pytest.approx(logged, rel=1e-5)
    for name, weight in plain.items():
        torch.testing.assert_close(saving[name], weight, rtol=0, atol=2e-5)
        assert name.endswith("bias") or not torch.equal(weight, model.state_dict()[name])


def test_an_update_in_bfloat16_has_nearly_the_gradient_of_float32(model: Any, rows: list[TrainedSequence]) -> None:
    (_, logged), (weights, half) = updated(model, rows, {}), updated(model, rows, {"dtype": "bfloat16", **SAVING})
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    assert half["gradient_norm"] == pytest.approx(logged["gradient_norm"], rel=0.1)
    assert half["gradient_norm"] != logged["gradient_norm"]


@pytest.mark.parametrize("local", [{}, SAVING], ids=["plain", "saving"])
def test_all_of_an_update_lies_where_the_model_does(
    model: Any, rows: list[TrainedSequence], local: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's device without storage refuses tensors of another, as a GPU would. What would be read from it is made
    up, and every mask is taken to be full."""
    for name, value in (("item", 1.0), ("__int__", 1), ("__bool__", True)):
        real = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda own, real=real, value=value: value if own.is_meta else real(own))
    elsewhere, config = copy.deepcopy(model).to("meta"), PolicyTraining(**STEP, kl_coef=0.1, local=local)
    even = [
        TrainedSequence(row.token_ids[:5], [0, 1, 1, 1, 1], row.logprobs[:5], row.advantages[:5], row.meta_episode)
        for row in rows
    ]
    with tracing.patch(meta_nonzero_assume_all_nonzero=True):
        update(
            elsewhere,
            adamw(elsewhere, config),
            even,
            config,
            step=0,
            seed=0,
            rate=0.0,
            reference=elsewhere,
            llds_coef=0.1,
        )
    assert {weight.device.type for weight in elsewhere.parameters()} == {"meta"}
