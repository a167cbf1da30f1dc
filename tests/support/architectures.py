"""Tiny random models of many architectures, made from transformers' own configurations."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

ALIKE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 3,
}
MIXED = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "sliding_window": 7}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
VARIANTS = {
    "qwen2": ("qwen2", {}),
    "qwen2 with a window": ("qwen2", {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1}),
    "qwen2_moe": ("qwen2_moe", EXPERTS | {"shared_expert_intermediate_size": 16}),
    "qwen3": ("qwen3", {}),
    "qwen3_moe": ("qwen3_moe", EXPERTS),
    "llama": ("llama", {}),
    "llama with llama3 rotary": (
        "llama",
        {
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 10000.0,
                "factor": 4.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 16,
            }
        },
    ),
    "mistral": ("mistral", {"sliding_window": None}),
    "mistral with a window": ("mistral", {"sliding_window": 7}),
    "ministral": ("ministral", MIXED),
    "mixtral": ("mixtral", {"sliding_window": 7, "num_local_experts": 4}),
    "gemma": ("gemma", {}),
    "gemma2": (
        "gemma2",
        MIXED | {"query_pre_attn_scalar": 8, "final_logit_softcapping": 3.0, "attn_logit_softcapping": 5.0},
    ),
    "gemma3_text": ("gemma3_text", MIXED | {"query_pre_attn_scalar": 8, "final_logit_softcapping": 3.0}),
    "phi": ("phi", {}),
    "phi3": ("phi3", {}),
    "phi3 with a window": ("phi3", {"sliding_window": 7}),
    "olmo": ("olmo", {"clip_qkv": 2.0}),
    "olmo2": ("olmo2", {}),
    "olmo3": ("olmo3", MIXED),
    "olmoe": ("olmoe", {"num_experts": 4, "num_experts_per_tok": 2}),
    "cohere": ("cohere", {"logit_scale": 0.3, "use_qk_norm": True}),
    "cohere2": ("cohere2", MIXED | {"logit_scale": 0.3}),
    "granite": (
        "granite",
        {
            "logits_scaling": 4.0,
            "embedding_multiplier": 2.0,
            "residual_multiplier": 0.5,
            "attention_multiplier": 0.2,
        },
    ),
    "granitemoe": (
        "granitemoe",
        {"logits_scaling": 4.0, "num_local_experts": 4, "num_experts_per_tok": 2, "attention_multiplier": 0.2},
    ),
    "gpt_oss": ("gpt_oss", MIXED | {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "smollm3": ("smollm3", {"no_rope_layers": [1, 0, 1]}),
    "starcoder2": ("starcoder2", {"sliding_window": 7}),
    "stablelm": ("stablelm", {}),
    "seed_oss": ("seed_oss", {}),
    "nemotron": ("nemotron", {}),
    "helium": ("helium", {}),
    "glm": ("glm", {}),
    "glm4": ("glm4", {}),
    "exaone4": ("exaone4", MIXED),
    "ernie4_5": ("ernie4_5", {}),
    "arcee": ("arcee", {}),
    "apertus": ("apertus", {}),
    "hunyuan_v1_dense": ("hunyuan_v1_dense", {}),
}
"""Model type and settings, by a name for the reader; windows are shorter than the sequences of the tests."""


def random_model(variant: str, vocabulary: int, seed: int = 0, **others: Any) -> Any:
    """A random three-layer model of a variant with some settings changed, in float32."""
    kind, settings = VARIANTS[variant]
    torch.manual_seed(seed)
    config = AutoConfig.for_model(kind, **{**ALIKE, "vocab_size": vocabulary, **settings, **others})
    # The fused attention leaves out the soft limit of scores.
    eager = getattr(config, "attn_logit_softcapping", None) is not None
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager" if eager else None)
    return model.float().eval()
