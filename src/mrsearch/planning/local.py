"""Memory and time of a training in one process on one GPU. Memory is in bytes, time in seconds.

Nothing of this is measured. Sources: the tensors that the trainer holds (docs/training.md, One GPU), with transformers'
attention, which repeats the keys and values of a layer for its query heads where rows have masks of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mrsearch.config import Study
from mrsearch.config.local import LocalUpdates
from mrsearch.planning.memory import ACTIVATION_COPIES, STATE, demonstration_tokens
from mrsearch.planning.shapes import Shape
from mrsearch.planning.speed import Assumptions, Card, Length, update_seconds

FLOAT_BYTES = 4
VALUE_BYTES = {"float32": 4, "bfloat16": 2}
"""Of one number of a product, by the precision of products."""
LOGIT_BYTES = 16
"""One logit at worst: in the products' precision, in float32, divided by the temperature, and its gradient."""
DRAWN_BYTES = 30
"""One logit of a draw at worst: the same, with probabilities and their sums in float64."""
PROMPT_TOKENS = 200
"""Of a prompt, or of what stands around an observation."""
RUNTIME_BYTES = 2e9
"""CUDA context, libraries' workspaces and the allocator's slack."""


def update_memory(study: Study, shape: Shape) -> dict[str, float]:
    """What the GPU holds during an update of a policy training, by item."""
    training = study.training
    local, longest = training.local, study.protocol.longest_sequence
    items = _update(shape, local, local.max_token_len_per_gpu or training.micro_batch_size * longest)
    return items | _reference(study, shape)


def fine_tuning_memory(study: Study, shape: Shape) -> dict[str, float]:
    """The same of a fine-tuning."""
    local = study.sft.local
    tokens = local.max_token_len_per_gpu or study.sft.micro_batch_size * demonstration_tokens(study)
    return _update(shape, local, tokens)


def generation_memory(study: Study, shape: Shape) -> dict[str, float]:
    """What the GPU holds at worst while a policy training generates, by item: every meta-episode as long as the context
    is, and their keys and values both before and after they are packed anew between two turns."""
    protocol, local = study.protocol, study.training.local
    size, together = VALUE_BYTES[local.dtype], _together(study)
    tokens = together * protocol.longest_sequence
    head_bytes = shape.head * size
    return {
        "weights": STATE["weights"] * shape.parameters,
        "moments": STATE["moments"] * shape.parameters,
        "converted weights": 0.0 if size == FLOAT_BYTES else size * shape.parameters,
        "keys and values": 2 * tokens * shape.kv_bytes * size / 2,
        "repeated keys and values": 2 * tokens * shape.heads * head_bytes,
        "activations": together * (PROMPT_TOKENS + protocol.max_observation_tokens) * _activation_bytes(shape, size),
        "logits": together * shape.vocabulary * DRAWN_BYTES,
        "runtime": RUNTIME_BYTES,
        **_reference(study, shape),
    }


def _update(shape: Shape, local: LocalUpdates, tokens: int) -> dict[str, float]:
    """tokens: of one forward and backward pass."""
    size = VALUE_BYTES[local.dtype]
    layers = 1 if local.gradient_checkpointing else shape.layers
    output = shape.vocabulary * shape.hidden * (FLOAT_BYTES + (0 if size == FLOAT_BYTES else 2 * size))
    return {
        **{name: count * shape.parameters for name, count in STATE.items()},
        "converted blocks": 0.0 if size == FLOAT_BYTES else layers * shape.block_parameters * size,
        "output layer and its gradient": output,
        "inputs of blocks": shape.layers * tokens * shape.hidden * FLOAT_BYTES,
        "activations": layers * tokens * _activation_bytes(shape, size),
        "logits": min(tokens, local.logits_chunk or tokens) * shape.vocabulary * LOGIT_BYTES,
        "runtime": RUNTIME_BYTES,
    }


def _activation_bytes(shape: Shape, size: int) -> float:
    """Of one token in one block: what has the model's width is in float32, where residuals and norms are."""
    return ACTIVATION_COPIES * shape.hidden * FLOAT_BYTES + 3 * shape.intermediate * size


def _reference(study: Study, shape: Shape) -> dict[str, float]:
    return {"reference": FLOAT_BYTES * shape.parameters} if study.training.kl_coef else {}


def _together(study: Study) -> int:
    """Meta-episodes in flight."""
    training = study.training
    return training.local.concurrency or training.train_batch_size * training.group_size


@dataclass(frozen=True, slots=True)
class StepTime:
    """Seconds of one step's parts."""

    generation: float
    update: float
    validation: float
    """Spread over the steps between two."""

    @property
    def total(self) -> float:
        return self.generation + self.update + self.validation


def step_seconds(study: Study, method: str, shape: Shape, length: Length, card: Card, assumed: Assumptions) -> StepTime:
    """One step of a policy training of `method`, whose meta-episodes are so long on average."""
    training = study.training
    count, local = training.train_batch_size * training.group_size, training.local
    turns = study.methods[method].episodes * study.max_turns_of(method)
    steps = turns * study.protocol.max_turn_tokens
    generation = generation_seconds(shape, count, _together(study), steps, length, card, assumed)
    validation = generation_seconds(shape, local.validation_questions, _together(study), steps, length, card, assumed)
    tokens = count * length.total * training.epochs
    # No log-probabilities are computed anew: PPO's ratio divides by those that were sampled with.
    update = update_seconds(
        shape,
        tokens,
        1,
        card,
        assumed.mfu,
        False,
        training.kl_coef > 0,
        checkpointing=local.gradient_checkpointing,
        frozen=training.lora is not None,
    )
    return StepTime(generation, update, validation / local.validate_every)


def generation_seconds(
    shape: Shape, count: int, together: int, steps: int, length: Length, card: Card, assumed: Assumptions
) -> float:
    """Until `count` meta-episodes, `together` at a time, are generated in this process.

    All turns of those that run together begin at once and end with the longest, so that each batch takes as many steps
    as the budgets allow one meta-episode. A step starts every kernel from Python and reads the weights; for each token
    that somebody generates it reads keys and values, writes them once for every query head and reads those.
    """
    bandwidth = card.bandwidth * assumed.decode_share
    copied = 1 + 2 * shape.heads / shape.kv_heads
    per_step = assumed.launch_ms / 1000 + 2 * shape.parameters / bandwidth
    per_token = length.total / 2 * shape.kv_bytes * copied / bandwidth
    prompts = 2 * shape.parameters * count * length.observed / (card.flops * assumed.decode_share)
    return math.ceil(count / together) * steps * per_step + count * length.generated * per_token + prompts
