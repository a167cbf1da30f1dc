"""Memory of one GPU, item by item, in training and in generation. All figures are bytes.

Nothing of this is measured. Sources: the sizes of the tensors that verl's FSDP engine and the generation servers hold
(docs/training.md, Memory and time).
"""

from __future__ import annotations

from mrsearch.config import Study
from mrsearch.config.lora import Lora
from mrsearch.planning.shapes import Shape

STATE = {"weights": 4, "gradients": 4, "moments": 8}
"""Bytes per parameter in training: weights, gradients and both moments of AdamW in float32."""
STATE_BYTES = sum(STATE.values())
WEIGHT_BYTES = 2
"""bfloat16."""
ACTIVATION_COPIES = 14
"""Numbers that one recomputed block keeps per token, in units of its hidden size, feed-forward part aside."""
RUNTIME_BYTES = 3_500_000_000
"""CUDA context, NCCL buffers, allocator's slack and what a sleeping server keeps (CUDA graphs)."""


def training_memory(study: Study, shape: Shape) -> dict[str, float]:
    """What one GPU holds during an update, by item; the job's GPUs share weights, gradients and moments.

    With adapters, all weights and theirs lie there, and gradients and moments are theirs alone.
    """
    resources, verl, lora = study.resources.train, study.training.verl, study.training.lora
    tokens = verl.tokens_per_gpu(study.protocol.longest_sequence)
    items = _update(shape, tokens, max(1, resources.gpus * resources.nodes), verl.gradient_checkpointing, lora)
    return items if verl.fused_kernels is None else items | {"logits": 0.0}


def fine_tuning_memory(study: Study, shape: Shape, gpus: int) -> dict[str, float]:
    """The same of a supervised training on so many GPUs."""
    return _update(shape, study.sft.micro_batch_size * demonstration_tokens(study), gpus, True)


def demonstration_tokens(study: Study) -> int:
    """Tokens of the longest demonstration: of what the policy generated as many as the context takes, of golden answers
    a prompt with its passages."""
    protocol, longest = study.protocol, 0
    for method in study.methods.values():
        if method.train and method.train.demonstrations == "self_generated":
            return protocol.longest_sequence
        if method.train and method.train.demonstrations == "gold_answers":
            passages = protocol.max_observation_tokens if method.searches else 0
            longest = max(longest, study.training.verl.max_prompt_tokens + passages)
    return min(longest, protocol.longest_sequence)


def _update(shape: Shape, tokens: float, gpus: int, checkpointing: bool, lora: Lora | None = None) -> dict[str, float]:
    """tokens: of one forward and backward pass on one GPU."""
    trained = shape.trained(lora)
    numbers = {"weights": shape.parameters + (trained if lora else 0), "gradients": trained, "moments": trained}
    gathered = WEIGHT_BYTES + (0 if lora else 4)  # frozen weights have no gradients beside them
    embedding = shape.vocabulary * shape.hidden
    layers = 1 if checkpointing else shape.layers
    activations = tokens * WEIGHT_BYTES * (ACTIVATION_COPIES * shape.hidden + 3 * shape.intermediate)
    return {
        **{name: size * numbers[name] / gpus for name, size in STATE.items()},
        "gathered weights": (2 * shape.block_parameters + embedding * (1 if shape.tied else 2)) * gathered,
        "inputs of checkpointed blocks": shape.layers * tokens * shape.hidden * WEIGHT_BYTES,
        "activations": layers * activations,
        "logits": tokens * shape.vocabulary * WEIGHT_BYTES,
        "runtime": RUNTIME_BYTES,
    }


def server_memory(shape: Shape, context: int, tensor_parallel: int, share: float) -> dict[str, float]:
    """The least that one GPU of a generation server must have, by item: weights, the keys and values of one
    meta-episode, and what the server's share leaves to others."""
    items = {
        "weights": WEIGHT_BYTES * shape.parameters / tensor_parallel,
        "keys and values of one meta-episode": context * shape.kv_bytes / tensor_parallel,
        "runtime": float(RUNTIME_BYTES),
    }
    return items | {f"outside of the server's share of {share:g}": sum(items.values()) * (1 / share - 1)}


def generation_memory(shape: Shape, tensor_parallel: int, card_bytes: float, share: float) -> dict[str, float]:
    """What one GPU of a generation server holds, by item; keys and values take what the server's share leaves."""
    weights = WEIGHT_BYTES * shape.parameters / tensor_parallel
    return {"weights": weights, "keys and values": max(0.0, share * card_bytes - weights - RUNTIME_BYTES)}


def kv_tokens(shape: Shape, tensor_parallel: int, card_bytes: float, share: float) -> float:
    """Tokens whose keys and values fit on the GPUs that share one copy of the model."""
    free = generation_memory(shape, tensor_parallel, card_bytes, share)["keys and values"]
    return free * tensor_parallel / shape.kv_bytes
