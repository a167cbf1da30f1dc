"""Adapters beside frozen weights: what is trained, what a checkpoint holds, and what is left after the merge."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from mrsearch.config.lora import Lora
from mrsearch.training.adapters import Adapters, merged, reference_of, trainable
from mrsearch.training.sequences import score_tokens

SETTINGS = Lora(rank=2, alpha=6)
TOKENS = torch.tensor([[3, 1, 4, 1, 5]])
CHOSEN = torch.tensor([[False, True, True, True, True]])


@pytest.fixture(scope="module")
def base() -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Qwen2Config(vocab_size=11, num_key_value_heads=1, tie_word_embeddings=True, **sizes)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(8)  # far from uniform
    return model


@pytest.fixture
def adapters(base: Any) -> Adapters:
    """As training might have left them."""
    made = trainable(copy.deepcopy(base), SETTINGS, 5)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel())))
    return made


def logprobs(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return score_tokens(model, TOKENS, CHOSEN).logprobs_K


def test_new_adapters_say_nothing_and_depend_on_the_seed_alone(base: Any) -> None:
    torch.manual_seed(1)
    one, same, other = (Adapters(copy.deepcopy(base), SETTINGS, seed) for seed in (5, 5, 6))
    assert torch.equal(logprobs(one.model), logprobs(base))
    states = [each.state_dict() for each in (one, same, other)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert not all(torch.equal(value, states[2][name]) for name, value in states[0].items())


def test_every_linear_layer_of_a_block_has_one_and_nothing_else_is_trained(adapters: Adapters) -> None:
    """Per block rank x (inputs + outputs) of q, k, v, o, gate, up and down; the output layer has none."""
    block = (8 + 8) + (8 + 4) * 2 + (8 + 8) + (8 + 12) * 3
    assert sum(weight.numel() for weight in adapters.parameters()) == 2 * 2 * block
    assert all(".lora_" in name and ".layers." in name for name in adapters.state_dict())
    score_tokens(adapters.model, TOKENS, CHOSEN).logprobs_K.sum().backward()
    moved = {name for name, weight in adapters.model.named_parameters() if weight.grad is not None}
    assert moved == set(adapters.state_dict())


def test_merging_adds_scaled_products_and_changes_no_answer(base: Any, adapters: Adapters) -> None:
    state = {name: value.clone() for name, value in adapters.state_dict().items()}
    before, plain = logprobs(adapters.model), base.state_dict()
    whole = merged(adapters).state_dict()
    assert whole.keys() == plain.keys()
    for name, weight in plain.items():
        a, b = (state.get(name.replace(".weight", f".lora_{side}.default.weight")) for side in "AB")
        by_hand = weight if a is None or b is None else weight + 6 / 2 * b @ a
        torch.testing.assert_close(whole[name], by_hand, rtol=0, atol=1e-6)
    torch.testing.assert_close(logprobs(adapters.model), before, rtol=0, atol=1e-5)
    assert (before - logprobs(base)).abs().max() > 1e-2


def test_the_reference_is_the_policy_without_its_adapters(base: Any, adapters: Adapters) -> None:
    reference = reference_of(adapters)
    assert torch.equal(logprobs(reference), logprobs(base))
    assert not torch.equal(logprobs(adapters.model), logprobs(base))


def test_a_checkpoint_holds_adapters_and_is_taken_up_by_such_adapters_alone(base: Any, adapters: Adapters) -> None:
    again = Adapters(copy.deepcopy(base), SETTINGS, 6)
    again.load_state_dict({name: value.clone() for name, value in adapters.state_dict().items()})
    assert torch.equal(logprobs(again.model), logprobs(adapters.model))
    for settings in (Lora(rank=3), Lora(rank=2, target_modules=("q_proj",))):
        with pytest.raises(ValueError, match="the checkpoint's adapters are not those of the study"):
            Adapters(copy.deepcopy(base), settings).load_state_dict(adapters.state_dict())


def test_layers_are_named_and_wrong_names_refused(base: Any) -> None:
    chosen = Adapters(copy.deepcopy(base), Lora(target_modules=("q_proj", "self_attn.v_proj")))
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in chosen.state_dict()} == {"q_proj", "v_proj"}
    with pytest.raises(ValueError, match=r"lora\.target_modules .*query_proj.* does not fit the model"):
        Adapters(copy.deepcopy(base), Lora(target_modules=("query_proj",)))
    for names in ((), ("lm_head",), ("model.embed_tokens",), ("q proj",)):
        with pytest.raises(ValueError, match="target_modules"):
            Lora(target_modules=names)


def test_without_adapters_the_model_itself_is_trained(base: Any) -> None:
    assert trainable(base, None, 5) is base and merged(base) is base
    reference = reference_of(base)
    assert reference is not base and torch.equal(logprobs(reference), logprobs(base))
