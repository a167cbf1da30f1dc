"""How policies are trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from mrsearch.config.base import Model, Name
from mrsearch.config.verl import VerlTraining

Algorithm = Literal["mr_search", "grpo", "rloo", "mt_grpo", "reinforce_pp", "rejection", "ppo"]


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
    """sft is supervised training; the others name their advantage estimator."""
    demonstrations: Literal["script", "answers", "own"] = "script"
    """What `sft` imitates. script: the synthetic world's scripted traces, by `warm_start`; answers: golden answers
    in the place of the one generation of direct, cot or rag; own: meta-episodes that the starting policy samples once
    and that end right (offline rejection sampling). The latter two are trained by `fine_tuning`."""
    start: Name = "base"
    """Where the weights start: `base` (the study's model) or a trained method of the study."""
    gamma: float = Field(1.0, ge=0.0, le=1.0)
    """Discount between episodes (paper eq. 8: 1; 0 is its ablation)."""
    episode_mask: tuple[Literal[0, 1], ...] | None = None
    """Per episode, 0 drops its reward (the exploration variant); null keeps all."""

    @model_validator(mode="after")
    def _imitates(self) -> Train:
        if self.demonstrations != "script" and self.algorithm != "sft":
            raise ValueError(
                f"demonstrations ({self.demonstrations}) are what algorithm sft imitates, and algorithm is "
                f"{self.algorithm}: set sft, or remove them"
            )
        return self
