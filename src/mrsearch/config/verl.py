"""What the cluster trainer needs beside the settings that both trainers share."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from mrsearch.config.base import (
    MOST,
    LearningRate,
    Measured,
    Model,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)
from mrsearch.config.verl_keys import refusal

ATTENTION = r"^(auto|sdpa|flex_attention|flash_attention_[23]|[\w.-]+/[\w.-]+@[0-9a-f]{40})$"
"""Names of attention that the configuration takes. A kernel of the hub is code, hence the revision."""

DOTTED = re.compile(r"[\w-]+(\.[\w-]+)+")
Scalar = bool | Annotated[int, Field(ge=-MOST, le=MOST)] | Measured | str | None
"""What a key of verl's may be set to."""


class HealthLimits(Model):
    """When a training looks ill. A threshold of null is not watched."""

    action: Literal["warn", "stop"] = "warn"
    """warn: log and count alarms; stop: also end the training, with a checkpoint, after `patience` steps of one."""
    patience: PositiveInt = 5
    """Consecutive steps of one alarm before `stop` acts."""
    min_entropy: NonNegativeFloat | None = 0.02
    """Mean entropy of the trained tokens' distributions below which the policy has collapsed, in nats."""
    max_entropy: NonNegativeFloat | None = 5.0
    """Mean entropy above which the policy has dissolved, in nats."""
    min_generated_tokens: NonNegativeFloat | None = 5.0
    """Tokens that the policy generates per meta-episode, at least."""
    max_truncated: float | None = Field(0.5, ge=0.0, le=1.0)
    """Share of meta-episodes that the full context ended."""
    max_invalid_actions: float | None = Field(0.5, ge=0.0, le=1.0)
    """Share of turns without a complete action."""
    max_zero_variance_groups: float | None = Field(0.98, ge=0.0, le=1.0)
    """Share of groups whose members all have the same rewards, and so nothing to learn from."""
    stall_steps: PositiveInt | None = 100
    """Steps without a new best mean reward (of 10 steps) after which the reward has stalled."""


class VerlTraining(Model):
    """Settings of `training.backend: verl`; GPUs and nodes are those of `resources.train`."""

    rollout: Literal["sglang", "vllm", "transformers"] = "vllm"
    """Who generates: vllm, a server of the environment for GPUs; sglang, of an environment of its own (`make
    train-sglang-env`, which `paths.gpu_environment` then names); or transformers, which tests and rehearsals without a
    GPU use."""
    mode: Literal["sync", "one_step_off"] = "sync"
    """sync: a step's meta-episodes begin and end with it; one_step_off: those of the next step are under way as well,
    so that servers need not idle until the longest of a step has ended. Some began with the weights before the last
    update then: set `old_logprobs: rollout` or `rollout_is`. The log's `staleness` is the number of updates."""
    tensor_parallel: PositiveInt = 1
    """GPUs that share one copy of the model for generation."""
    gpu_memory_utilization: float = Field(0.8, gt=0.0, lt=1.0)
    """Share of each GPU's memory that generation may take (released scripts: 0.6). Without `offload`, what training
    keeps on the GPU must fit beside it."""
    request_seeds: bool = False
    """Send each generation's own seed to vLLM. It then draws such tokens one request after another, and on GPUs samples
    differ all the same. transformers always has seeds, sglang never."""
    max_prompt_tokens: PositiveInt = 1024
    """Longest first prompt; a longer one ends the training with an error, as nothing is cut."""
    use_dynamic_bsz: bool = True
    """Pack as many sequences into a forward and backward pass as fit into `max_token_len_per_gpu`; false takes
    `micro_batch_size_per_gpu` of them, however short (released scripts)."""
    max_token_len_per_gpu: PositiveInt | None = None
    """Tokens of one forward and backward pass per GPU, at least those of the longest sequence; null takes
    `micro_batch_size_per_gpu` sequences of the greatest length."""
    micro_batch_size_per_gpu: PositiveInt = 4
    """Sequences of one forward and backward pass per GPU (released scripts: 4)."""
    fused_kernels: Literal["torch", "triton"] | None = None
    """Compute log-probabilities and entropies from hidden states, without logits of the whole vocabulary: torch in
    chunks, triton in one kernel; null forms the logits. For models whose logits are the product with `lm_head` alone,
    as Qwen's and Llama's are."""
    chunked_entropy: bool = False
    """Compute entropies a part of the tokens at a time, where logits are formed."""
    offload: bool = True
    """Keep weights and optimizer state in main memory while servers generate (released scripts: yes)."""
    attention: str = Field("auto", pattern=ATTENTION)
    """auto: flash-attn where it can be imported, else flex_attention, and sdpa without a GPU; or one of these by name;
    or a prebuilt kernel of the hub with its pinned revision, `kernels-community/flash-attn2@<40 hex digits>`."""
    gradient_checkpointing: bool = True
    """Compute activations again in the backward pass."""
    sequence_parallel: PositiveInt = 1
    """GPUs that share one sequence in training (Ulysses)."""
    old_logprobs: Literal["recompute", "rollout"] = "recompute"
    """What the PPO ratio divides by: probabilities under the trained model before the step (released scripts), or those
    that the server sampled with, as training.backend: local does."""
    rollout_is: Literal["token", "sequence"] | None = None
    """Weigh tokens by the ratio of the trained model before the step to the server that sampled, truncated at
    `rollout_is_threshold`: each token's, or the product over its sequence. Needs `old_logprobs: recompute`."""
    rollout_is_threshold: PositiveFloat = 2.0
    """Largest weight of `rollout_is`."""
    critic_learning_rate: LearningRate = 1e-5
    """Learning rate of the critic, for algorithm ppo."""
    gae_lambda: float = Field(1.0, ge=0.0, le=1.0)
    """Lambda of the generalised advantage estimate, for algorithm ppo."""
    cpu_ranks: PositiveInt = 1
    """Training processes where `resources.train.gpus` is 0."""
    agent_workers: PositiveInt = 8
    """Processes that run meta-episodes."""
    max_missing: float = Field(0.01, ge=0.0, le=1.0)
    """Share of a step's meta-episodes that may be missing before the training ends with an error."""
    max_logprob_difference: PositiveFloat | None = None
    """Mean absolute difference between the probabilities of sampled tokens at the server and in the trained model above
    which the training ends with an error; null only logs it. Needs `old_logprobs: recompute`."""
    validation_questions: NonNegativeInt = 256
    """Training questions held out and validated on, the same at every validation; 0 validates nothing."""
    validate_every: PositiveInt = 50
    """Steps between two validations."""
    keep_best: bool = True
    """Also keep the checkpoint of the best validation, which beats the best before it by more than chance over the same
    questions; without validation there is none."""
    export: Literal["last", "best"] = "last"
    """Which checkpoint becomes the trained model."""
    health: HealthLimits = HealthLimits()
    """Alarms."""
    overrides: dict[str, Scalar | list[Scalar]] = {}
    """Further keys of verl's own configuration, dotted, with their values (`trainer.balance_batch: false`). Keys that
    the recipe sets are refused with the way to set them, and keys that the installed verl does not have by preflight,
    `mrsearch verl-config` and the training's start."""

    def tokens_per_gpu(self, longest: int) -> int:
        """Tokens of one forward and backward pass on one GPU, at most, where no sequence has more than `longest`."""
        if self.max_token_len_per_gpu is not None:
            return self.max_token_len_per_gpu
        return -(-self.micro_batch_size_per_gpu * longest // self.sequence_parallel)

    @model_validator(mode="after")
    def _overrides_are_free(self) -> VerlTraining:
        for key, value in self.overrides.items():
            if not DOTTED.fullmatch(key):
                raise ValueError(f"overrides: {key[:200]!r} is no dotted key of verl's, as trainer.balance_batch is")
            if reason := refusal(key):
                raise ValueError(f"overrides: {key}: {reason}")
            if any(isinstance(member, str) and "${" in member for member in _members(value)):
                raise ValueError(f"overrides: {key}: refers to another value ({value!r}): write the value itself")
        return self

    @model_validator(mode="after")
    def _fits(self) -> VerlTraining:
        if self.export == "best" and not (self.keep_best and self.validation_questions):
            raise ValueError("export: best needs keep_best: true and validation_questions above 0")
        if self.max_logprob_difference is not None and self.old_logprobs == "rollout":
            raise ValueError("max_logprob_difference compares with recomputed values: set old_logprobs: recompute")
        if self.max_logprob_difference is not None and self.mode != "sync":
            raise ValueError(
                f"max_logprob_difference compares one model's probabilities, and with mode: {self.mode} the server has "
                "older weights: set mode: sync, or remove it"
            )
        if self.rollout_is is not None and self.old_logprobs == "rollout":
            raise ValueError(
                f"rollout_is ({self.rollout_is}) weighs by recomputed values, and with old_logprobs: rollout the ratio "
                "has that weight already: set old_logprobs: recompute, or remove it"
            )
        if self.max_token_len_per_gpu is not None and not self.use_dynamic_bsz:
            raise ValueError(
                f"max_token_len_per_gpu ({self.max_token_len_per_gpu}) needs use_dynamic_bsz: true: set that, or "
                "remove it"
            )
        return self


def _members(value: Scalar | list[Scalar]) -> list[Scalar]:
    return value if isinstance(value, list) else [value]
