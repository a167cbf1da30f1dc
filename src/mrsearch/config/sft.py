"""How policies are trained on demonstrations: what the token-level loss imitates, and for how long."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mrsearch.config.base import (
    Beta,
    LearningRate,
    Model,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Share,
)
from mrsearch.config.local import LocalUpdates


class SupervisedTraining(Model):
    """What every supervised training has."""

    steps: PositiveInt
    """Optimizer steps."""
    train_batch_size: PositiveInt
    """Demonstrations in one step."""
    learning_rate: LearningRate
    """Peak learning rate (AdamW)."""
    warmup_steps: NonNegativeInt
    """Linear warm-up."""
    weight_decay: NonNegativeFloat = 0.01
    """AdamW weight decay."""
    betas: tuple[Beta, Beta]
    """AdamW betas."""
    max_grad_norm: PositiveFloat = 1.0
    """Gradient clipping."""
    checkpoint_every: PositiveInt = 100
    """Steps between two checkpoints."""
    local: LocalUpdates = LocalUpdates()
    """How a trainer in one process computes its updates."""


class WarmStart(SupervisedTraining):
    """Supervised training on scripted demonstrations, so that a tiny model can format, search and copy."""

    steps: PositiveInt = 450
    """Optimizer steps."""
    train_batch_size: PositiveInt = 32
    """Demonstrations in one step."""
    learning_rate: LearningRate = 3e-3
    """Peak learning rate (AdamW, linear decay to 5 %)."""
    warmup_steps: NonNegativeInt = 40
    """Linear warm-up."""
    betas: tuple[Beta, Beta] = (0.9, 0.98)
    """AdamW betas."""
    context_loss_weight: NonNegativeFloat = 0.2
    """Weight of the loss on tokens the policy does not generate (prompt, observations)."""
    demonstrations: PositiveInt = 6000
    """Scripted demonstrations made beforehand; each is used again with other names."""
    one_shot_rate: float = Field(0.1, ge=0.0, le=1.0)
    """Share of demonstrations that show `direct` and `rag`, half each; the rest are meta-episodes."""
    episodes: PositiveInt = 3
    """Episodes of a scripted meta-episode."""
    context: Literal["full", "previous"] = "full"
    """Which earlier episodes stay in a scripted meta-episode's context."""
    careful_rate: float = Field(0.3, ge=0.0, le=1.0)
    """Share of episodes in which the demonstrator works carefully; the rest are hasty."""
    persistence: Share | None = None
    """Share of episodes that go on searching after a miss while turns are left; the others answer with a guess at their
    first miss. Null leaves it to the style: careful episodes go on, hasty ones do after a fifth of their misses."""
    relabel: bool = True
    """Permute names and values within each demonstration, so that only copying pays."""


class Sft(SupervisedTraining):
    """Supervised training on demonstrations of the training questions: golden answers, or what the starting policy
    sampled and got right. The loss is the mean over all tokens of a step that the policy generates."""

    backend: Literal["local", "verl"] = "local"
    """local: plain torch in one process, on a GPU where `resources.sft` has one; verl: its supervised trainer, on one
    node's GPUs."""
    steps: PositiveInt = 500
    """Optimizer steps; the demonstrations are passed over as often as that takes."""
    train_batch_size: PositiveInt = 256
    """Demonstrations in one step."""
    micro_batch_size: PositiveInt = 4
    """Sequences in one forward pass (of each GPU)."""
    learning_rate: LearningRate = 1e-5
    """Peak learning rate (AdamW, cosine decay to 5 %)."""
    warmup_steps: NonNegativeInt = 20
    """Linear warm-up."""
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """AdamW betas."""
    questions: PositiveInt | None = None
    """Training questions that demonstrations are made of, drawn by seed; null takes all."""
    samples: PositiveInt = 5
    """Meta-episodes sampled per question, for `demonstrations: self_generated`."""
    temperature: PositiveFloat = 1.0
    """Temperature of that sampling."""
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    """Nucleus mass of that sampling."""
    cpu_ranks: PositiveInt = 1
    """Processes of `backend: verl` where `resources.sft.gpus` is 0."""
