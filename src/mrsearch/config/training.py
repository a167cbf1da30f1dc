"""How policies are trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from mrsearch.config.base import Model, Name
from mrsearch.config.verl import VerlTraining

Algorithm = Literal["mr_search", "grpo", "rloo", "mt_grpo", "reinforce_pp", "rejection", "ppo"]


class WarmStart(Model):
    """Supervised training on scripted traces, so that a tiny model can format, search and copy."""

    steps: PositiveInt = 450
    """Optimizer steps."""
    batch_traces: PositiveInt = 32
    """Traces in one step."""
    learning_rate: PositiveFloat = 3e-3
    """Peak learning rate (AdamW, linear decay to 5 %)."""
    warmup_steps: NonNegativeInt = 40
    """Linear warm-up."""
    weight_decay: NonNegativeFloat = 0.01
    """AdamW weight decay."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW betas."""
    context_loss_weight: NonNegativeFloat = 0.2
    """Weight of the loss on tokens the policy does not generate (prompt, observations)."""
    traces: PositiveInt = 6000
    """Scripted traces made beforehand; each is used again with other names."""
    one_shot_rate: float = Field(0.1, ge=0.0, le=1.0)
    """Share of traces that show `direct` and `rag`, half each; the rest are meta-episodes."""
    episodes: PositiveInt = 3
    """Episodes of a scripted meta-episode."""
    context: Literal["full", "previous"] = "full"
    """Which earlier episodes stay in a scripted meta-episode's context."""
    careful_rate: float = Field(0.3, ge=0.0, le=1.0)
    """Share of episodes in which the demonstrator works carefully; the rest are hasty."""
    relabel: bool = True
    """Permute names and values within each trace, so that only copying pays."""
    max_gradient_norm: PositiveFloat = 1.0
    """Gradient clipping."""
    checkpoint_every: PositiveInt = 100
    """Steps between two checkpoints."""


class PolicyTraining(Model):
    """Reinforcement learning, shared by all methods of a study so that they differ in their algorithm alone."""

    backend: Literal["local", "verl"] = "local"
    """local: plain torch in one process; verl: the cluster trainer."""
    steps: PositiveInt = 300
    """Most training steps."""
    token_budget: PositiveInt | None = None
    """Stop once this many tokens (prompt, generated and observed) were processed; null trains all steps."""
    questions_per_step: PositiveInt = 512
    """Questions sampled per step."""
    group_size: PositiveInt = 5
    """Meta-episodes per question (the paper's G)."""
    minibatches: PositiveInt = 2
    """Optimizer steps per training step (paper: batch 512 / mini-batch 256)."""
    epochs: PositiveInt = 1
    """Passes over each step's meta-episodes."""
    microbatch_sequences: PositiveInt = 40
    """Sequences in one forward pass."""
    learning_rate: PositiveFloat = 1e-6
    """AdamW learning rate."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW betas."""
    weight_decay: NonNegativeFloat = 0.0
    """AdamW weight decay."""
    warmup_steps: NonNegativeInt = 0
    """Linear warm-up."""
    clip_range: PositiveFloat = 0.2
    """Epsilon of the PPO clip."""
    kl_coefficient: NonNegativeFloat = 0.0
    """Weight of the KL penalty towards the starting policy (paper: 0)."""
    max_gradient_norm: PositiveFloat = 1.0
    """Gradient clipping."""
    loss_aggregation: Literal["meta_episode_mean", "token_mean"] = "meta_episode_mean"
    """meta_episode_mean: mean over a meta-episode's trained tokens, then over meta-episodes (paper, eq. 9);
    token_mean: over all trained tokens of the mini-batch (released scripts)."""
    temperature: PositiveFloat = 1.0
    """Rollout temperature."""
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    """Rollout nucleus mass (paper 1.0; released scripts 0.95)."""
    checkpoint_every: PositiveInt = 25
    """Steps between two checkpoints."""
    checkpoints_kept: PositiveInt = 2
    """Newest checkpoints kept."""
    verl: VerlTraining = VerlTraining()
    """What `backend: verl` needs beside the above."""

    @model_validator(mode="after")
    def _minibatches_divide(self) -> PolicyTraining:
        if self.questions_per_step % self.minibatches:
            raise ValueError(
                f"questions_per_step ({self.questions_per_step}) must be a multiple of minibatches ({self.minibatches})"
            )
        return self

    @model_validator(mode="after")
    def _best_is_kept(self) -> PolicyTraining:
        own = self.verl
        judged = self.backend == "verl" and own.keep_best and own.validation_questions > 0
        if judged and own.validate_every % self.checkpoint_every:
            raise ValueError(
                f"verl.validate_every ({own.validate_every}) must be a multiple of checkpoint_every "
                f"({self.checkpoint_every}), so that the best checkpoint can be kept; or set verl.keep_best: false"
            )
        return self


class Train(Model):
    """What one trained method trains, and from where."""

    algorithm: Algorithm | Literal["sft"]
    """sft is the warm start; the others name their advantage estimator."""
    start: Name = "base"
    """Where the weights start: `base` (the study's model) or a trained method of the study."""
    gamma: float = Field(1.0, ge=0.0, le=1.0)
    """Discount between episodes (paper eq. 8: 1; 0 is its ablation)."""
    episode_mask: tuple[Literal[0, 1], ...] | None = None
    """Per episode, 0 drops its reward (the exploration variant); null keeps all."""
