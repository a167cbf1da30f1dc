"""Which language models run in this process, and what their configurations say about attention."""

from __future__ import annotations

from typing import Any

# fmt: off
VERIFIED = (
    "apertus", "arcee", "cohere", "cohere2", "ernie4_5", "exaone4", "gemma", "gemma2", "gemma3_text", "glm",
    "glm4", "gpt_oss", "granite", "granitemoe", "helium", "hunyuan_v1_dense", "llama", "ministral", "mistral",
    "mixtral", "nemotron", "olmo", "olmo2", "olmo3", "olmoe", "phi", "phi3", "qwen2", "qwen2_moe", "qwen3",
    "qwen3_moe", "seed_oss", "smollm3", "stablelm", "starcoder2",
)
# fmt: on
"""Values of `model_type` whose batched generation gives the tokens and log-probabilities of the model alone; each one
is tested."""
FULL, SLIDING = "full_attention", "sliding_attention"
_OTHER_INPUT = ("vision_config", "audio_config", "speech_config", "thinker_config", "encoder_config", "vq_config")
_RECURRENT = ("mamba", "rwkv", "xlstm", "jamba", "bamba", "zamba", "falcon_h1", "recurrent_gemma", "lfm2", "nemotron_h")
_IMPLEMENTATIONS = ("sdpa", "eager")


def require_supported(config: Any, owner: str = "the model") -> None:
    """ValueError, naming the model's type and `owner`, for a configuration whose results would not be the model's own.

    A generation server may still serve it.
    """
    if reason := _reason(config):
        raise ValueError(
            f"{owner} has model_type {config.model_type!r}, which this process does not run: {reason}; choose a model "
            f"of one of the types {', '.join(VERIFIED)}, or evaluate it with evaluation.generator.kind: vllm"
        )


def require_length(config: Any, tokens: int, owner: str = "the model") -> None:
    """ValueError where so many tokens reach the length at which a model changes the positions of all of them."""
    limit = position_limit(config)
    if limit is not None and tokens > limit:
        raise ValueError(
            f"{owner} changes its rotary frequencies beyond {limit} tokens, and so every cached key; {tokens} are "
            f"asked for: set protocol.max_context_tokens to at most {limit}, or evaluate it with "
            "evaluation.generator.kind: vllm"
        )


def position_limit(config: Any) -> int | None:
    """The length up to which rotary frequencies are constant (longrope and dynamic NTK); None where they always are."""
    parameters = getattr(config, "rope_parameters", None) or {}
    limits = []
    for rope in parameters.values() if any(isinstance(value, dict) for value in parameters.values()) else [parameters]:
        kind = (rope or {}).get("rope_type", "default")
        if kind == "longrope":
            outer = getattr(config, "original_max_position_embeddings", None) or config.max_position_embeddings
            limits.append(int(rope.get("original_max_position_embeddings") or outer))
        elif kind == "dynamic":
            limits.append(int(config.max_position_embeddings))
    return min(limits, default=None)


def layer_windows(config: Any) -> dict[str, int | None] | int | None:
    """How far a model's layers look back: a window, or None for everything.

    A mapping by type of layer where the model tells its layers apart, one value where all are alike; the shape in which
    a model takes its attention masks.
    """
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        return window
    return {kind: window if kind == SLIDING else None for kind in (FULL, SLIDING)}


def attention(config: Any) -> str | None:
    """The attention implementation that follows the configuration; None leaves the choice to transformers.

    The fused one leaves out the soft limit of attention scores, as Gemma 2 has it.
    """
    return "eager" if getattr(config, "attn_logit_softcapping", None) is not None else None


def additive(config: Any) -> bool:
    """Whether a model adds its attention mask to the scores; the others take a boolean one.

    ValueError for an implementation that takes no such mask at all.
    """
    kernel = config._attn_implementation
    if kernel not in _IMPLEMENTATIONS:
        raise ValueError(
            f"attn_implementation {kernel!r} takes no mask for each row: load the model with one of {_IMPLEMENTATIONS}"
        )
    return bool(kernel == "eager")


def _reason(config: Any) -> str | None:
    """Why a configuration is refused, or None."""
    kind, layers = config.model_type, set(getattr(config, "layer_types", None) or ())
    if any(getattr(config, name, None) is not None for name in _OTHER_INPUT):
        return "it reads more than text (multimodal)"
    if getattr(config, "is_encoder_decoder", False):
        return "it is an encoder with a decoder"
    if getattr(config, "kv_lora_rank", None) is not None:
        return "it caches compressed keys and values (multi-head latent attention)"
    if layers - {FULL, SLIDING} or any(kind.startswith(name) for name in _RECURRENT):
        unsupported = sorted(layers - {FULL, SLIDING})
        return f"its layers keep a state beside keys and values (hybrid or recurrent{': ' if unsupported else ''}" + (
            f"{', '.join(unsupported)})"
        )
    if getattr(config, "use_bidirectional_attention", False):
        return "its attention also looks forward"
    if kind not in VERIFIED:
        return "its results were never compared with the model's own"
    return None
