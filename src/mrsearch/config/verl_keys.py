"""Keys of verl's configuration that the recipe sets, by what sets them in a study."""

from __future__ import annotations

from fnmatch import fnmatchcase

_MODELS = ("actor_rollout_ref.model", "critic.model")
_UPDATED = ("actor_rollout_ref.actor", "critic")
_SHARDED = ("actor_rollout_ref.actor.fsdp_config", "actor_rollout_ref.ref.fsdp_config", "critic.fsdp")
_ACTOR, _ROLLOUT = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
_SCORING = ("actor_rollout_ref.ref", _ROLLOUT)


def _below(sections: tuple[str, ...], *names: str) -> tuple[str, ...]:
    return tuple(f"{section}.{name}" for section in sections for name in names)


STUDY_KEYS: dict[str, tuple[str, ...]] = {
    "models": _below(_MODELS, "path"),
    "methods.<method>.train": ("algorithm.adv_estimator", "critic.enable"),
    "methods.<method>.train.gamma": ("algorithm.gamma",),
    "seeds": ("data.seed", f"{_ROLLOUT}.seed", *_below(_UPDATED, "data_loader_seed"), *_below(_SHARDED, "seed")),
    "resources.train": ("trainer.device", "trainer.nnodes", "trainer.n_gpus_per_node"),
    "protocol.max_context_tokens": ("data.max_response_length", f"{_ROLLOUT}.max_model_len"),
    "training.steps": ("trainer.total_training_steps", "trainer.total_epochs"),
    "training.train_batch_size": ("data.train_batch_size",),
    "training.group_size": (f"{_ROLLOUT}.n",),
    "training.mini_batch_size": (f"{_ACTOR}.ppo_mini_batch_size",),
    "training.filter_groups": ("algorithm.filter_groups.enable", "trainer.v1.sampler.sampler_kwargs*"),
    "training.epochs": _below(_UPDATED, "ppo_epochs"),
    "training.learning_rate": (f"{_ACTOR}.optim.lr",),
    "training.betas": _below(_UPDATED, "optim.betas"),
    "training.weight_decay": _below(_UPDATED, "optim.weight_decay"),
    "training.warmup_steps": _below(_UPDATED, "optim.lr_warmup_steps*"),
    "training.lr_scheduler_type": _below(_UPDATED, "optim.lr_scheduler_type", "optim.zero_indexed_step"),
    "training.min_lr_ratio": _below(_UPDATED, "optim.min_lr_ratio"),
    "training.clip_range": _below((_ACTOR,), "clip_ratio", "clip_ratio_low"),
    "training.clip_range_high": (f"{_ACTOR}.clip_ratio_high",),
    "training.dual_clip": (f"{_ACTOR}.clip_ratio_c",),
    "training.importance_sampling_level": (f"{_ACTOR}.policy_loss.loss_mode",),
    "training.entropy_coeff": (f"{_ACTOR}.entropy_coeff",),
    "training.kl_coef": (*_below((_ACTOR,), "use_kl_loss", "kl_loss_coef"), "algorithm.use_kl_in_reward"),
    "training.max_grad_norm": _below(_UPDATED, "grad_clip", "optim.clip_grad"),
    "training.lora": (
        *_below(("actor_rollout_ref.model",), "lora*", "target_modules", "exclude_modules"),
        f"{_ACTOR}.checkpoint.save_lora_only",
    ),
    "training.loss_aggregation": (f"{_ACTOR}.loss_agg_mode",),
    "training.loss_scale_factor": (f"{_ACTOR}.loss_scale_factor",),
    "training.temperature": (f"{_ROLLOUT}.temperature",),
    "training.top_p": (f"{_ROLLOUT}.top_p",),
    "training.checkpoint_every": ("trainer.save_freq",),
    "training.verl.rollout": (f"{_ROLLOUT}.name",),
    "training.verl.mode": _below(
        ("trainer.v1",),
        *("trainer_mode", "colocate_async.num_warmup_batches", "sampler.custom_sampler.path"),
        *("sampler.custom_sampler.name", "sampler.max_off_policy_threshold", "sampler.max_off_policy_strategy"),
    ),
    "training.verl.tensor_parallel": (f"{_ROLLOUT}.tensor_model_parallel_size",),
    "training.verl.gpu_memory_utilization": (f"{_ROLLOUT}.gpu_memory_utilization",),
    "training.verl.max_prompt_tokens": ("data.max_prompt_length",),
    "training.verl.use_dynamic_bsz": (
        *_below(_UPDATED, "use_dynamic_bsz"),
        *_below(_SCORING, "log_prob_use_dynamic_bsz"),
    ),
    "training.verl.max_token_len_per_gpu": (
        *_below(_UPDATED, "ppo_max_token_len_per_gpu"),
        *_below(_SCORING, "log_prob_max_token_len_per_gpu"),
    ),
    "training.verl.micro_batch_size_per_gpu": (
        *_below(_UPDATED, "ppo_micro_batch_size_per_gpu"),
        *_below(_SCORING, "log_prob_micro_batch_size_per_gpu"),
    ),
    "training.verl.fused_kernels": _below(
        ("actor_rollout_ref.model",), "use_fused_kernels", "fused_kernel_options.impl_backend"
    ),
    "training.verl.chunked_entropy": (f"{_ACTOR}.entropy_from_logits_with_chunking",),
    "training.verl.rollout_is": ("algorithm.rollout_correction.rollout_is",),
    "training.verl.rollout_is_threshold": ("algorithm.rollout_correction.rollout_is_threshold",),
    "training.verl.offload": (
        *_below(_SHARDED, "param_offload"),
        f"{_ACTOR}.fsdp_config.optimizer_offload",
        "critic.fsdp.optimizer_offload",
    ),
    "training.verl.attention": _below(_MODELS, "override_config.attn_implementation"),
    "training.verl.gradient_checkpointing": _below(_MODELS, "enable_gradient_checkpointing"),
    "training.verl.sequence_parallel": _below(_UPDATED, "ulysses_sequence_parallel_size"),
    "training.verl.old_logprobs": ("algorithm.rollout_correction.bypass_mode", f"{_ACTOR}.calculate_entropy"),
    "training.verl.critic_learning_rate": ("critic.optim.lr",),
    "training.verl.gae_lambda": ("algorithm.lam",),
    "training.verl.agent_workers": (
        f"{_ROLLOUT}.agent.num_workers",
        "transfer_queue.backend.SimpleStorage.num_data_storage_units",
    ),
    "training.verl.validate_every": ("trainer.test_freq",),
}
"""By the key of the study to set in their place."""

FIXED_KEYS: dict[str, tuple[str, ...]] = {
    "code in a model's folder never runs": ("*.trust_remote_code",),
    "the run's folder and its files have their places": (
        *_below(("data",), "train_files", "val_files"),
        *_below(("trainer",), "default_local_dir", "validation_data_dir", "project_name", "experiment_name", "logger"),
    ),
    "an interrupted training always goes on from its newest checkpoint": (
        f"{_ACTOR}.checkpoint.save_contents",
        "trainer.resume_mode",
    ),
    "meta-episodes, their rewards and their advantages are this project's": (
        f"{_ROLLOUT}.agent.agent_loop_config_path",
        f"{_ROLLOUT}.agent.default_agent_loop",
        f"{_ROLLOUT}.mode",
        f"{_ROLLOUT}.calculate_log_probs",
        f"{_ROLLOUT}.skip_tokenizer_init",
        "reward.num_workers",
        "trainer.critic_warmup",
    ),
    "questions come in a fixed order, whole": (
        *_below(("data",), "shuffle", "truncation", "dataloader_num_workers"),
        f"{_ACTOR}.shuffle",
    ),
    "validation is greedy, at the same steps always": (f"{_ROLLOUT}.val_kwargs", "trainer.val_before_train"),
    "rehearsals without a GPU and trainings on GPUs each have the one value that works": (
        *_below(_UPDATED, "strategy"),
        *_below(_SHARDED, "dtype", "mixed_precision", "use_torch_compile"),
        *_below(_MODELS, "use_remove_padding"),
        f"{_ACTOR}.use_torch_compile",
        "ray_kwargs.ray_init.address",
    ),
    "the estimate of the KL term is the local trainer's too": (f"{_ACTOR}.kl_loss_type",),
}
"""By the reason why no study sets them."""


def refusal(key: str) -> str | None:
    """Why a study may not set this key of verl's by itself, and the way to set it; None where it may."""
    for study_key, keys in STUDY_KEYS.items():
        if any(_touches(key, recipe_key) for recipe_key in keys):
            return f"the recipe sets it from {study_key}: set that"
    for reason, keys in FIXED_KEYS.items():
        if any(_touches(key, recipe_key) for recipe_key in keys):
            return f"the recipe sets it, as {reason}: remove it"
    return None


def _touches(key: str, recipe_key: str) -> bool:
    """Whether it is that key, lies below it or holds it."""
    return fnmatchcase(key, recipe_key) or key.startswith(f"{recipe_key}.") or recipe_key.startswith(f"{key}.")
