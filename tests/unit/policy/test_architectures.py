"""Batched generation and scoring against each architecture's own forward pass."""

import asyncio

import pytest
import torch
from support.architectures import VARIANTS, random_model
from support.tiny import word_tokenizer
from transformers import AutoConfig

from mrsearch.agent.ports import Sampling
from mrsearch.agent.protocol import StopRule
from mrsearch.policy.architectures import VERIFIED, require_length, require_supported
from mrsearch.policy.torch_policy import TorchPolicy
from mrsearch.training.sequences import score_tokens

TOKENIZER = word_tokenizer()
RULE = StopRule(TOKENIZER)


@torch.inference_mode()
def own_logprobs(model, ids):
    """The model's own log-probabilities [T, V] after each token, in one whole forward pass."""
    return torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0].float(), -1)


def together(policy, contexts, counts):
    async def everything():
        for name in contexts:
            policy.attach(name)
        asked = (policy.generate(ids, Sampling(max_tokens=counts[name]), name) for name, ids in contexts.items())
        return dict(zip(contexts, await asyncio.gather(*asked), strict=True))

    return asyncio.run(everything())


def test_every_verified_architecture_stands_in_the_matrix():
    assert {kind for kind, _ in VARIANTS.values()} == set(VERIFIED)


@pytest.mark.parametrize("variant", VARIANTS)
def test_generates_and_scores_as_the_model_itself(variant):
    """Three turns of rows of unequal lengths, beyond every window, then the log-probabilities of what was generated."""
    model = random_model(variant, len(TOKENIZER))
    policy = TorchPolicy(model, TOKENIZER, RULE)
    numbers = torch.Generator().manual_seed(3)
    contexts = {
        f"r{row}": torch.randint(4, len(TOKENIZER), (length,), generator=numbers).tolist()
        for row, length in enumerate((2, 11, 19))
    }
    made: dict[str, list[tuple[int, float]]] = {name: [] for name in contexts}
    for turn in range(3):
        counts = {name: (2, 7, 4)[(row + turn) % 3] for row, name in enumerate(contexts)}
        results = together(policy, contexts, counts)
        for row, (name, ids) in enumerate(contexts.items()):
            tokens, logprobs = results[name].token_ids, results[name].logprobs
            assert len(tokens) == counts[name] or RULE.is_end(tokens)
            made[name] += zip(range(len(ids), len(ids) + len(tokens)), logprobs, strict=True)
            contexts[name] = [*ids, *tokens, *range(8, 9 + (row + turn) % 3)]
    assert max(map(len, contexts.values())) > 30
    for name, ids in contexts.items():
        own = own_logprobs(model, ids)
        for place, logprob in made[name]:
            assert int(own[place - 1].argmax()) == ids[place], (name, place)
            assert logprob == pytest.approx(float(own[place - 1].max()), abs=1e-4)
    check_scores(model, contexts, made)


def check_scores(model, contexts, made):
    width = max(map(len, contexts.values()))
    tokens = torch.zeros(len(contexts), width, dtype=torch.long)
    chosen = torch.zeros(len(contexts), width, dtype=torch.bool)
    for row, (name, ids) in enumerate(contexts.items()):
        tokens[row, : len(ids)] = torch.tensor(ids)
        chosen[row, [place for place, _ in made[name]]] = True
    scored = score_tokens(model, tokens, chosen)
    expected = [logprob for turns in made.values() for _, logprob in turns]
    assert scored.logprobs_K.tolist() == pytest.approx(expected, abs=1e-4)
    scored.logprobs_K.sum().backward()
    assert all(parameter.grad is not None for parameter in model.get_decoder().layers[0].self_attn.parameters())


REFUSED = {
    "gpt2": ({}, "never compared"),
    "gpt_neox": ({}, "never compared"),
    "gptj": ({}, "never compared"),
    "bloom": ({}, "never compared"),
    "opt": ({}, "never compared"),
    "bert": ({}, "never compared"),
    "roberta": ({}, "never compared"),
    "t5": ({}, "encoder with a decoder"),
    "gemma3": ({}, "multimodal"),
    "llava": ({}, "multimodal"),
    "qwen2_vl": ({}, "multimodal"),
    "mllama": ({}, "multimodal"),
    "deepseek_v2": ({}, "latent attention"),
    "deepseek_v3": ({}, "latent attention"),
    "mamba": ({}, "state"),
    "mamba2": ({}, "state"),
    "jamba": ({}, "state"),
    "bamba": ({}, "state"),
    "falcon_h1": ({}, "state"),
    "rwkv": ({}, "state"),
    "recurrent_gemma": ({}, "state"),
    "qwen3_next": ({}, "state"),
    "lfm2": ({}, "state"),
    "granitemoehybrid": ({}, "state"),
    "llama4_text": ({}, "state"),
    "gemma3_text": ({"use_bidirectional_attention": True}, "looks forward"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_architectures_are_refused_by_name_when_the_model_is_opened(kind, tmp_path):
    settings, reason = REFUSED[kind]
    config = AutoConfig.for_model(kind, **settings)
    config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=reason) as refusal:
        TorchPolicy.load(tmp_path)
    assert repr(kind) in str(refusal.value)
    assert str(tmp_path) in str(refusal.value)
    with pytest.raises(ValueError, match=repr(kind)):
        require_supported(config)


LONG = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
CHANGING = {
    "longrope": ("phi3", {"original_max_position_embeddings": 24, "rope_parameters": {**LONG, "rope_theta": 10000.0}}),
    "dynamic": ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}}),
}


@pytest.mark.parametrize("rope", CHANGING)
def test_lengths_at_which_positions_change_are_refused_before_and_while_generating(rope):
    kind, settings = CHANGING[rope]
    model = random_model(kind, len(TOKENIZER), max_position_embeddings=24, **settings)
    require_length(model.config, 24)
    with pytest.raises(ValueError, match=r"beyond 24 tokens.*protocol\.max_context_tokens"):
        require_length(model.config, 25)
    policy = TorchPolicy(model, TOKENIZER, RULE)
    together(policy, {"a": list(range(8, 20))}, {"a": 12})
    with pytest.raises(ValueError, match="beyond 24 tokens"):
        together(policy, {"a": list(range(8, 21))}, {"a": 12})


def test_a_loaded_model_keeps_the_soft_limit_of_its_attention(tmp_path):
    model = random_model("gemma2", len(TOKENIZER))
    model.save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    loaded = TorchPolicy.load(tmp_path).model
    ids = list(range(8, 30))
    torch.testing.assert_close(own_logprobs(loaded, ids), own_logprobs(model, ids), atol=1e-4, rtol=0)
    loaded.set_attn_implementation("sdpa")
    assert (own_logprobs(loaded, ids) - own_logprobs(model, ids)).abs().max() > 1e-3, "the limit must matter here"
