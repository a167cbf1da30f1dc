"""Passes in parts, against the model's pass as a whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from mrsearch.config.local import LocalUpdates
from mrsearch.training.passes import recomputed_blocks
from mrsearch.training.sequences import score_tokens

SIZES = {"vocab_size": 19, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
SIZES |= {"num_key_value_heads": 1, "max_position_embeddings": 64}
MODELS: dict[str, dict[str, Any]] = {
    "qwen2": {"tie_word_embeddings": True},
    "gemma2": {"head_dim": 8, "final_logit_softcapping": 2.0, "attn_implementation": "eager"},
    "cohere": {"logit_scale": 0.3},
    "granite": {"logits_scaling": 3.0},
    "mixtral": {"num_local_experts": 2},
}
"""A tied output layer, a soft limit, factors on both sides, and experts whose output has a field more."""


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    options = {"initializer_range": 0.3, "pad_token_id": 0, **MODELS[request.param]}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(request.param, **SIZES, **options)).eval()


def scored(model: Any, local: LocalUpdates) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    """Log-probabilities, entropies and the gradient of their weighted sum, of nine tokens of two sequences."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(1, 19, (2, 12), generator=generator)
    chosen = torch.rand(2, 12, generator=generator) < 0.5
    chosen[:, 0] = False
    assert int(chosen.sum()) == 9
    model.zero_grad(set_to_none=True)
    with recomputed_blocks(model, local.gradient_checkpointing):
        scores = score_tokens(model, tokens, chosen, 0.7, train_entropy=True, local=local)
        (scores.logprobs_K * torch.linspace(-1, 2, 9) + 0.3 * scores.entropy_K).sum().backward()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    return scores.logprobs_K.detach(), scores.entropy_K.detach(), gradients


@pytest.mark.parametrize("local", [{"logits_chunk": 4}, {"gradient_checkpointing": True}], ids=["chunks", "blocks"])
def test_a_pass_in_parts_is_the_pass(model: Any, local: dict[str, Any]) -> None:
    expected, parts = scored(model, LocalUpdates()), scored(model, LocalUpdates(**local))
    for values, own in zip(expected[:2], parts[:2], strict=True):
        torch.testing.assert_close(own, values, rtol=1e-6, atol=1e-6)
    assert parts[2].keys() == expected[2].keys()
    for name, gradient in expected[2].items():
        assert float((parts[2][name] - gradient).norm()) <= 3e-6 * float(gradient.norm()), name


def test_bfloat16_stays_near_float32_and_leaves_float32_gradients(model: Any) -> None:
    expected = scored(model, LocalUpdates())
    half = scored(model, LocalUpdates(dtype="bfloat16", gradient_checkpointing=True, logits_chunk=4))
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert {gradient.dtype for gradient in half[2].values()} == {torch.float32}
    assert 1e-5 < float((half[0] - expected[0]).abs().max()) < 0.15
    assert half[0].dtype == torch.float32
    flat, exact = (torch.cat([values[2][name].flatten() for name in expected[2]]) for values in (half, expected))
    assert float(torch.nn.functional.cosine_similarity(flat, exact, dim=0)) > 0.99


def test_blocks_are_as_before_once_a_pass_is_over(model: Any) -> None:
    modes = [module.training for module in model.modules()]
    with pytest.raises(ZeroDivisionError), recomputed_blocks(model, True):
        assert sum(module.training for module in model.modules()) == SIZES["num_hidden_layers"]
        raise ZeroDivisionError
    assert [module.training for module in model.modules()] == modes
    assert not any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
    assert "forward" not in vars(model.get_decoder())


def test_a_model_without_such_blocks_is_refused() -> None:
    plain = torch.nn.Linear(2, 2)
    plain.config = AutoConfig.for_model("qwen2")  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"'qwen2' has no blocks .* set local\.gradient_checkpointing: false"):
        recomputed_blocks(plain, True).__enter__()
