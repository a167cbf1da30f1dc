"""How policies are trained."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from mrsearch.config.base import (
    LARGEST,
    Beta,
    LearningRate,
    Model,
    Name,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SparseModel,
)
from mrsearch.config.filter_groups import FilterGroups
from mrsearch.config.installed import completed
from mrsearch.config.local import LocalTraining
from mrsearch.config.lora import Lora
from mrsearch.config.reasoning import ReasoningLimits
from mrsearch.config.reward import Reward
from mrsearch.config.verl import VerlTraining
from mrsearch.extensions import ESTIMATORS

Algorithm = Literal["mr_search", "grpo", "rloo", "mt_grpo", "reinforce_plus_plus", "reinforce", "raft", "ppo"]
COMPARING = ("mr_search", "grpo", "rloo", "mt_grpo")
"""The algorithms that compare a meta-episode with the others of its group, and learn nothing from one alone."""


class PolicyTraining(Model):
    """Reinforcement learning, shared by all methods of a study so that they differ in their algorithm alone."""

    backend: Literal["local", "verl"] = "local"
    """local: plain torch in one process; verl: the cluster trainer."""
    steps: PositiveInt = 300
    """Most training steps."""
    token_budget: PositiveInt | None = None
    """Stop once this many tokens (prompt, generated and observed) were processed; null trains all steps."""
    train_batch_size: PositiveInt = 512
    """Questions sampled per step."""
    group_size: PositiveInt = 5
    """Meta-episodes per question (the paper's G)."""
    mini_batch_size: PositiveInt = 256
    """Questions of one optimizer step, whole groups; divides `train_batch_size` (paper: 512 / 256)."""
    filter_groups: FilterGroups | None = None
    """Whether groups without variance make room for others; null trains on every group that is generated (paper)."""
    epochs: PositiveInt = 1
    """Passes over each step's meta-episodes."""
    micro_batch_size: PositiveInt = 40
    """Sequences in one forward pass."""
    learning_rate: LearningRate = 1e-6
    """AdamW learning rate."""
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """AdamW betas."""
    weight_decay: NonNegativeFloat = 0.0
    """AdamW weight decay."""
    warmup_steps: NonNegativeInt = 0
    """Linear warm-up."""
    lr_scheduler_type: Literal["constant", "cosine"] = "constant"
    """constant: the rate stays after the warm-up (paper); cosine: half a cosine down to `min_lr_ratio` at the end of
    the budget, be it of steps or of tokens."""
    min_lr_ratio: float = Field(0.05, ge=0.0, le=1.0)
    """Share of the rate that `cosine` ends with."""
    clip_range: PositiveFloat = 0.2
    """Epsilon of the PPO clip."""
    clip_range_high: PositiveFloat | None = None
    """Epsilon above a ratio of 1, where it differs (DAPO's clip-higher: 0.28); null takes `clip_range`."""
    dual_clip: float | None = Field(3.0, gt=1.0, le=LARGEST)
    """Largest ratio that counts for a token of negative advantage (released scripts: verl's 3); null has no limit.
    Ratios of whole sequences have none."""
    importance_sampling_level: Literal["token", "sequence"] = "token"
    """token: PPO's ratio of each token; sequence: the geometric mean over a training sequence's trained tokens for all
    of them (GSPO), whose clip range is smaller by orders."""
    entropy_coeff: NonNegativeFloat = 0.0
    """Weight of the entropy bonus (paper: 0)."""
    kl_coef: NonNegativeFloat = 0.0
    """Weight of the KL penalty towards the starting policy (paper: 0)."""
    max_grad_norm: PositiveFloat = 1.0
    """Gradient clipping."""
    lora: Lora | None = None
    """Train low-rank adapters of the policy instead of its weights; null trains all weights."""
    loss_aggregation: Literal["meta_episode_mean", "token_mean", "meta_episode_sum"] = "meta_episode_mean"
    """meta_episode_mean: mean over a meta-episode's trained tokens, then over meta-episodes (paper, eq. 9);
    token_mean: over all trained tokens of the mini-batch (released scripts); meta_episode_sum: sum over a
    meta-episode's trained tokens divided by `loss_scale_factor`, then mean over meta-episodes, without bias by length
    (Dr. GRPO)."""
    loss_scale_factor: PositiveInt | None = None
    """Tokens that `meta_episode_sum` divides by, the same for all meta-episodes."""
    temperature: PositiveFloat = 1.0
    """Rollout temperature."""
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    """Rollout nucleus mass (paper 1.0; released scripts 0.95)."""
    reward: Reward = Reward()
    """What an episode is rewarded for; a method may have its own."""
    checkpoint_every: PositiveInt = 25
    """Steps between two checkpoints."""
    checkpoint_minutes: PositiveFloat | None = None
    """Also write one at the end of a step once the last is so old, as where steps are longer than a notice to stop;
    null saves by steps alone."""
    checkpoints_kept: PositiveInt = 2
    """Newest checkpoints kept."""
    reasoning: ReasoningLimits = ReasoningLimits()
    """Alarms about what the policy writes."""
    local: LocalTraining = LocalTraining()
    """What `backend: local` needs beside the above."""
    verl: VerlTraining = VerlTraining()
    """What `backend: verl` needs beside the above."""

    @model_validator(mode="after")
    def _mini_batches_divide(self) -> PolicyTraining:
        if self.train_batch_size % self.mini_batch_size:
            raise ValueError(
                f"train_batch_size ({self.train_batch_size}) must be a multiple of mini_batch_size "
                f"({self.mini_batch_size})"
            )
        return self

    @model_validator(mode="after")
    def _sums_are_scaled(self) -> PolicyTraining:
        if (self.loss_aggregation == "meta_episode_sum") != (self.loss_scale_factor is not None):
            raise ValueError(
                f"loss_scale_factor ({self.loss_scale_factor}) goes with loss_aggregation: meta_episode_sum, which "
                f"needs one, and loss_aggregation is {self.loss_aggregation}"
            )
        return self

    @model_validator(mode="after")
    def _trainer_has_it(self) -> PolicyTraining:
        """Keys of verl's that ask for what the local trainer has not."""
        verl = self.verl
        verl_alone = {
            "overrides": bool(verl.overrides),
            "rollout_is": verl.rollout_is is not None,
            "fused_kernels": verl.fused_kernels is not None,
            "chunked_entropy": verl.chunked_entropy,
        }
        if self.backend == "local" and any(verl_alone.values()):
            names = " and ".join(f"verl.{key}" for key, is_set in verl_alone.items() if is_set)
            raise ValueError(f"backend: local has no {names}: remove it, or set backend: verl")
        return self

    @model_validator(mode="after")
    def _rate_ends_with_the_steps(self) -> PolicyTraining:
        if self.backend == "verl" and self.lr_scheduler_type == "cosine" and self.token_budget is not None:
            raise ValueError(
                f"lr_scheduler_type: cosine with token_budget ({self.token_budget:,}) needs backend: local: verl "
                "lowers the rate over steps alone: end the training by steps, or set lr_scheduler_type: constant"
            )
        return self

    @model_validator(mode="after")
    def _groups_are_of_their_step(self) -> PolicyTraining:
        if self.backend == "verl" and self.filter_groups is not None and self.verl.mode != "sync":
            raise ValueError(
                f"filter_groups needs verl.mode: sync, and it is {self.verl.mode}, where the next step's questions are "
                "drawn before this one's groups are known: set one of them back"
            )
        return self

    @model_validator(mode="after")
    def _probabilities_agree(self) -> PolicyTraining:
        if self.backend == "verl" and self.verl.old_logprobs == "rollout" and self.top_p < 1.0:
            raise ValueError(
                f"top_p ({self.top_p:g}) does not fit verl.old_logprobs: rollout: a server's probabilities are those "
                "within the nucleus, the trained model's are not: set top_p: 1.0 or verl.old_logprobs: recompute"
            )
        return self

    @model_validator(mode="after")
    def _best_is_kept(self) -> PolicyTraining:
        """Whether there is a checkpoint of every validation."""
        verl, local = self.verl, self.local
        judged = verl.keep_best and verl.validation_questions > 0
        way_out = "verl.keep_best: false"
        if self.backend == "local":
            judged, way_out = local.validation_questions > 0, "local.validation_questions: 0"
        every: int = getattr(self, self.backend).validate_every
        if judged and every % self.checkpoint_every:
            raise ValueError(
                f"{self.backend}.validate_every ({every}) must be a multiple of checkpoint_every "
                f"({self.checkpoint_every}), so that the best checkpoint can be kept; or set {way_out}"
            )
        return self


class TurnCredit(Model):
    """What a turn gets beside the advantage of its episode."""

    kind: Literal["igpo"] = "igpo"
    """igpo: how much more probable the first golden answer became, standardised within the group and summed over the
    episode's remaining turns but the last, whose reward is the episode's (arXiv 2510.14967)."""
    weight: PositiveFloat = 1.0
    """Weight beside the episode's advantage."""
    gamma: float = Field(1.0, ge=0.0, le=1.0)
    """Discount between turns."""


class Train(SparseModel):
    """What one trained method trains, and from where."""

    idle_keys: ClassVar = ("algorithm_settings", "algorithm_package")
    algorithm: Algorithm | Literal["sft"] | Name
    """sft is supervised training; the others name their advantage estimator. Installed packages add others."""
    algorithm_settings: dict[str, Any] = {}
    """Settings of an installed estimator, by its package's own model."""
    algorithm_package: str | None = None
    """Name and version of the package of an installed estimator; written down when a study is started."""
    demonstrations: Literal["scripted", "gold_answers", "self_generated"] = "scripted"
    """What `sft` imitates. scripted: the synthetic world's scripted demonstrations, by `warm_start`; gold_answers:
    golden answers in the place of the one generation of direct, cot or rag; self_generated: meta-episodes that the
    starting policy samples once and that end right (offline rejection sampling). The settings `sft` train the latter
    two."""
    start: Name = "base"
    """Where the weights start: `base` (the study's model) or a trained method of the study."""
    gamma: float = Field(1.0, ge=0.0, le=1.0)
    """Discount between episodes (paper eq. 8: 1; 0 is its ablation)."""
    episode_mask: tuple[Literal[0, 1], ...] | None = None
    """Per episode, 0 drops its reward (the exploration variant); null keeps all."""
    llds_coef: NonNegativeFloat = 0.0
    """Weight of LLDS: where an action's tokens lost likelihood in sum since they were sampled, a penalty on those that
    did (arXiv 2512.04220: 0.1)."""
    turn_credit: TurnCredit | None = None
    """Credit of single turns beside that of their episodes; null gives all turns of an episode the same."""
    mask_abnormal_turns: bool = False
    """Train nothing on what came before an invalid action or a repeated query in its episode, so that the fault alone
    is blamed, nor on a meta-episode that the full context cut."""
    reward: Reward | None = None
    """What an episode is rewarded for; null takes `training.reward`, and anything else replaces the whole of it."""

    @property
    def compares(self) -> bool:
        """Whether it compares the meta-episodes of a question, and learns nothing from one alone."""
        if self.algorithm_package is not None:
            return bool(getattr(ESTIMATORS.load(self.algorithm), "compares", True))
        return self.algorithm in COMPARING

    @model_validator(mode="before")
    @classmethod
    def _algorithm_is_there(cls, raw: Any) -> Any:
        return completed(raw, ESTIMATORS, "algorithm", "algorithm_settings", "algorithm_package")

    @property
    def by_turn(self) -> bool:
        """Whether turns of one episode can have different advantages."""
        return self.turn_credit is not None or self.mask_abnormal_turns

    @model_validator(mode="after")
    def _imitation_has_no_reward(self) -> Train:
        if self.algorithm == "sft" and (self.reward is not None or self.llds_coef or self.by_turn):
            raise ValueError(
                "algorithm sft imitates and rewards nothing: remove reward, llds_coef, turn_credit and "
                "mask_abnormal_turns"
            )
        if self.algorithm == "ppo" and self.by_turn:
            raise ValueError(
                "algorithm ppo gives each token its own credit: remove turn_credit and mask_abnormal_turns"
            )
        return self

    @model_validator(mode="after")
    def _imitates(self) -> Train:
        if self.demonstrations != "scripted" and self.algorithm != "sft":
            raise ValueError(
                f"demonstrations ({self.demonstrations}) are what algorithm sft imitates, and algorithm is "
                f"{self.algorithm}: set sft, or remove them"
            )
        return self
