"""The part of the recipe that concerns the model: actor, reference, critic and rollout."""

from __future__ import annotations

from typing import Any

from mrsearch.config import Study
from mrsearch.config.lora import Lora
from mrsearch.config.training import PolicyTraining
from mrsearch.training.verl.attention import attention_implementation
from mrsearch.training.verl.compose import SINGLE

LEVELS = {
    "meta_episode_mean": "seq-mean-token-mean",
    "token_mean": "token-mean",
    "meta_episode_sum": "seq-mean-token-sum-norm",
}
RATIOS = {"token": "vanilla", "sequence": "gspo"}
UNLIMITED = 1e9
"""A limit of the dual clip that no ratio reaches; verl cannot be without one."""
SAVE_ADAPTERS = "save_lora_only"
"""Key of verl's checkpoints that its own files of defaults leave out."""
LLDS = "mrsearch_llds"
"""Our policy loss in verl's registry."""


def policy(study: Study, start: str) -> dict[str, Any]:
    """The policy, and the starting policy that a KL term looks at."""
    fused = study.training.verl.fused_kernels
    kernels = {} if fused is None else {"use_fused_kernels": True, "fused_kernel_options": {"impl_backend": fused}}
    return model(study, start) | kernels | adapters(study.training.lora)


def adapters(lora: Lora | None) -> dict[str, Any]:
    """Keys of a model whose adapters are trained.

    Servers get merged weights, as of any other training: all of them can read these, and generate at their full speed.
    """
    if lora is None:
        return {}
    modules = lora.target_modules
    return {
        "lora_rank": lora.rank,
        "lora_alpha": lora.alpha,
        "target_modules": modules if isinstance(modules, str) else list(modules),
        "exclude_modules": None,
        "lora": {"merge": True},
    }


def model(study: Study, start: str) -> dict[str, Any]:
    """A model of whatever head."""
    cpu = study.resources.train.gpus == 0
    return {
        "path": start,
        "trust_remote_code": False,
        "enable_gradient_checkpointing": study.training.verl.gradient_checkpointing and not cpu,
        "use_remove_padding": True,
        "override_config": {"attn_implementation": attention_implementation(study.training.verl, cpu)},
    }


def actor(study: Study, seed: int) -> dict[str, Any]:
    """The policy's updates."""
    training = study.training
    verl = training.verl
    return {
        **objective(training),
        "strategy": "fsdp2",
        "ppo_mini_batch_size": training.mini_batch_size,
        "ppo_epochs": training.epochs,
        "shuffle": False,
        "data_loader_seed": seed,
        **_micro_batches(study, "ppo_micro_batch_size_per_gpu", "ppo_max_token_len_per_gpu", "use_dynamic_bsz"),
        "calculate_entropy": verl.old_logprobs == "rollout",
        "entropy_from_logits_with_chunking": verl.chunked_entropy,
        "grad_clip": training.max_grad_norm,
        "optim": optimizer(study, training.learning_rate),
        "fsdp_config": fsdp(study, seed),
        "use_torch_compile": study.resources.train.gpus > 0,
        "ulysses_sequence_parallel_size": verl.sequence_parallel,
        "checkpoint": {
            "save_contents": ["model", "optimizer", "extra"],
            **({SAVE_ADAPTERS: True} if training.lora else {}),
        },
    }


def objective(training: PolicyTraining) -> dict[str, Any]:
    """What the policy's updates minimise."""
    high = training.clip_range if training.clip_range_high is None else training.clip_range_high
    return {
        "clip_ratio": training.clip_range,
        "clip_ratio_low": training.clip_range,
        "clip_ratio_high": high,
        "clip_ratio_c": UNLIMITED if training.dual_clip is None else training.dual_clip,
        "policy_loss": {"loss_mode": RATIOS[training.importance_sampling_level]},
        "loss_agg_mode": LEVELS[training.loss_aggregation],
        "loss_scale_factor": training.loss_scale_factor,
        "entropy_coeff": training.entropy_coeff,
        "use_kl_loss": training.kl_coef > 0,
        "kl_loss_coef": training.kl_coef,
        "kl_loss_type": "low_var_kl",
    }


def with_llds(actor: dict[str, Any], coefficient: float) -> dict[str, Any]:
    """The actor's settings with LLDS beside its policy loss; as they are where the coefficient is 0."""
    if not coefficient:
        return actor
    policy_loss = actor["policy_loss"]
    displacement = {
        "_target_": "mrsearch.training.verl.rl.losses.DisplacementConfig",
        "loss_mode": LLDS,
        "base_mode": policy_loss["loss_mode"],
        "llds_coef": coefficient,
    }
    return {**actor, "policy_loss": policy_loss | displacement}


def reference(study: Study) -> dict[str, Any]:
    """The starting policy, which a KL term looks at."""
    return {
        **_micro_batches(study, "log_prob_micro_batch_size_per_gpu", "log_prob_max_token_len_per_gpu", LOGPROB_DYNAMIC),
        "fsdp_config": {key: value for key, value in fsdp(study, 0).items() if key != "optimizer_offload"},
    }


def rollout(study: Study, seed: int, agent_loops: str, agent_loop: str) -> dict[str, Any]:
    """Generation."""
    training = study.training
    verl = training.verl
    return {
        "name": verl.rollout,
        "mode": "async",
        "n": training.group_size,
        "temperature": training.temperature,
        "top_p": training.top_p,
        "seed": seed,
        "tensor_model_parallel_size": verl.tensor_parallel,
        "gpu_memory_utilization": verl.gpu_memory_utilization,
        # No policy sees and generates more at once; servers want one token more than that.
        "max_model_len": study.protocol.longest_sequence + 1,
        "calculate_log_probs": True,
        **_micro_batches(study, "log_prob_micro_batch_size_per_gpu", "log_prob_max_token_len_per_gpu", LOGPROB_DYNAMIC),
        "val_kwargs": {"n": 1, "temperature": 0, "top_p": 1.0, "do_sample": False},
        # sglang finds stop strings only where it has the tokenizer.
        "skip_tokenizer_init": False,
        "agent": {
            "num_workers": verl.agent_workers,
            "default_agent_loop": agent_loop,
            "agent_loop_config_path": agent_loops,
        },
    }


def critic(study: Study, start: str, seed: int) -> dict[str, Any]:
    """The value model of algorithm ppo; it starts from the policy's weights."""
    training = study.training
    return {
        "enable": True,
        "strategy": "fsdp2",
        "model": model(study, start),
        "optim": optimizer(study, training.verl.critic_learning_rate),
        "fsdp": fsdp(study, seed),
        "ppo_epochs": training.epochs,
        "data_loader_seed": seed,
        "grad_clip": training.max_grad_norm,
        "ulysses_sequence_parallel_size": training.verl.sequence_parallel,
        **_micro_batches(study, "ppo_micro_batch_size_per_gpu", "ppo_max_token_len_per_gpu", "use_dynamic_bsz"),
    }


def optimizer(study: Study, rate: float) -> dict[str, Any]:
    """AdamW with linear warm-up, then a constant rate or half a cosine that ends with the last step."""
    training = study.training
    return {
        "lr": rate,
        "betas": list(training.betas),
        "weight_decay": training.weight_decay,
        # verl reads 0 as "take the ratio", which is 0 as well.
        "lr_warmup_steps": training.warmup_steps,
        "lr_warmup_steps_ratio": 0.0,
        "lr_scheduler_type": training.lr_scheduler_type,
        "min_lr_ratio": training.min_lr_ratio,
        # The first step counts as one, so that the last has the lowest rate.
        "zero_indexed_step": False,
        "clip_grad": training.max_grad_norm,
    }


def fsdp(study: Study, seed: int) -> dict[str, Any]:
    """Sharding; on a CPU nothing is offloaded or compiled, and all arithmetic is float32."""
    cpu = study.resources.train.gpus == 0
    offload = study.training.verl.offload and not cpu
    common = {"param_offload": offload, "optimizer_offload": offload, "seed": seed}
    return {**common, "use_torch_compile": False, "dtype": "float32", "mixed_precision": SINGLE} if cpu else common


LOGPROB_DYNAMIC = "log_prob_use_dynamic_bsz"


def _micro_batches(study: Study, sequences: str, tokens: str, dynamic: str) -> dict[str, Any]:
    verl = study.training.verl
    if not verl.use_dynamic_bsz:
        return {dynamic: False, sequences: verl.micro_batch_size_per_gpu}
    return {dynamic: True, tokens: verl.tokens_per_gpu(study.protocol.longest_sequence)}
