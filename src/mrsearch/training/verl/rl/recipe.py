"""From the typed study to verl's whole configuration."""

from __future__ import annotations

import contextlib
import io
from functools import partial
from typing import TYPE_CHECKING, Any

from mrsearch.config import Study
from mrsearch.training.run import TrainingRun
from mrsearch.training.verl.compose import compose_with
from mrsearch.training.verl.rl import recipe_model
from mrsearch.training.verl.run_files import RunFiles

if TYPE_CHECKING:
    from omegaconf import DictConfig

TRAINER = "mr_search"
"""Name of our trainer and of our agent loop in verl's registries."""
AHEAD = f"{TRAINER}_one_step_off"
"""Name of our trainer that generates the next step beside this one."""


def settings(run: TrainingRun, ray: str | None = None) -> dict[str, Any]:
    """What differs from verl's defaults, as nested mappings. ValueError where verl cannot do what the study asks.

    ray: address of the Ray cluster.
    """
    assert run.stage == "train", f"{run.method} is no policy training"
    study, seed, method, train = run.study, run.seed, run.study.methods[run.method], run.settings
    training, start, files = study.training, str(run.inputs.start), RunFiles(run.folder)
    _check(study, run.method)
    critic = train.algorithm == "ppo"
    return {
        "data": _data(study, seed, files),
        "algorithm": {
            "adv_estimator": "gae" if critic else f"mrsearch_{train.algorithm}",
            # Between episodes; verl's own, between tokens, is 1 for the critic as for Search-R1.
            "gamma": 1.0 if critic else train.gamma,
            "lam": training.verl.gae_lambda,
            "use_kl_in_reward": False,
            # verl would judge a group by its last rewards, and forget what it threw away before anybody counted it:
            # `training.filter_groups` has a buffer of its own.
            "filter_groups": {"enable": False},
            "rollout_correction": {
                "bypass_mode": training.verl.old_logprobs == "rollout",
                "rollout_is": training.verl.rollout_is,
                "rollout_is_threshold": training.verl.rollout_is_threshold,
            },
        },
        "actor_rollout_ref": {
            "model": recipe_model.policy(study, start),
            "actor": recipe_model.with_llds(recipe_model.actor(study, seed), train.llds_coef),
            "ref": recipe_model.reference(study),
            "rollout": recipe_model.rollout(study, seed, str(files.agent_loops), TRAINER),
        },
        "critic": recipe_model.critic(study, start, seed) if critic else {"enable": False},
        "reward": {"num_workers": 1},
        "trainer": _trainer(run, files),
        "transfer_queue": {"backend": {"SimpleStorage": {"num_data_storage_units": training.verl.agent_workers}}},
        "ray_kwargs": {"ray_init": {"address": ray}},
        TRAINER: {
            **run.names,
            "run": str(files.run),
            "episodes": method.episodes,
            "algorithm": train.algorithm,
            "episode_mask": list(train.episode_mask) if train.episode_mask else None,
            "row_per_episode": method.changes_context,
            "overrides": training.verl.overrides,
        },
    }


def compose(changes: dict[str, Any]) -> DictConfig:
    """The whole configuration of verl's trainer; a key that the installed verl does not have is a ValueError."""
    rollout = changes["actor_rollout_ref"]["rollout"]["name"]
    choice = [f"actor_rollout_ref.rollout.name={rollout}"]
    actor = changes["actor_rollout_ref"]["actor"]
    further = {name: None for name in ("base_mode", "llds_coef") if name in actor["policy_loss"]}
    open_up = partial(
        _open_up,
        policy_loss=further,
        adapters=recipe_model.SAVE_ADAPTERS in actor["checkpoint"],
        sampler=dict.fromkeys(changes["trainer"]["v1"].get("sampler", {}).get("sampler_kwargs", {})),
    )
    return compose_with("ppo_trainer", changes, TRAINER, open_up, choice, changes[TRAINER]["overrides"])


def _open_up(config: Any, policy_loss: dict[str, None], adapters: bool, sampler: dict[str, None]) -> None:
    config.actor_rollout_ref.actor.policy_loss.update(policy_loss)
    if adapters:
        config.actor_rollout_ref.actor.checkpoint[recipe_model.SAVE_ADAPTERS] = None
    config.ray_kwargs.ray_init.address = None
    config.trainer.v1.sampler.sampler_kwargs = sampler
    for model in (config.actor_rollout_ref.model, config.critic.model):
        model.override_config = {"attn_implementation": None}
    for worker in (config.actor_rollout_ref.actor, config.actor_rollout_ref.ref):
        worker.fsdp_config.mixed_precision = None
    config.critic.fsdp.mixed_precision = None


def validate(config: DictConfig) -> None:
    """verl's own checks; ValueError or AssertionError says what it refuses. Reads the model's folder."""
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config

    with contextlib.redirect_stdout(io.StringIO()):
        validate_config(
            config=config, use_reference_policy=need_reference_policy(config), use_critic=need_critic(config)
        )


def on_cpu(study: Study) -> bool:
    """Whether the training runs without GPUs, by the plug-in for rehearsals."""
    return study.resources.train.gpus == 0


def _check(study: Study, method: str) -> None:
    verl, resources = study.training.verl, study.resources.train
    if (verl.rollout == "transformers") != on_cpu(study):
        raise ValueError(
            f"training.verl.rollout ({verl.rollout}) and resources.train.gpus ({resources.gpus}) do not fit: "
            "transformers runs without GPUs, sglang and vllm need them"
        )
    gpus = resources.gpus * resources.nodes or verl.cpu_ranks
    if gpus % verl.tensor_parallel or gpus % verl.sequence_parallel:
        raise ValueError(
            f"resources.train has {gpus} GPUs, which training.verl.tensor_parallel ({verl.tensor_parallel}) and "
            f"sequence_parallel ({verl.sequence_parallel}) must divide"
        )
    _check_passes(study, method, gpus // verl.sequence_parallel)
    _check_rows(study, method)


def _check_passes(study: Study, method: str, ranks: int) -> None:
    training, verl, longest = study.training, study.training.verl, study.protocol.longest_sequence
    tokens = verl.tokens_per_gpu(longest) * verl.sequence_parallel
    if verl.use_dynamic_bsz and tokens < longest:
        raise ValueError(
            f"training.verl.max_token_len_per_gpu ({verl.max_token_len_per_gpu}) with sequence_parallel "
            f"({verl.sequence_parallel}) holds {tokens} tokens, less than the longest sequence ({longest}): raise it"
        )
    rows = training.mini_batch_size * training.group_size
    rows *= study.methods[method].episodes if study.methods[method].changes_context else 1
    micro = verl.micro_batch_size_per_gpu
    if not verl.use_dynamic_bsz and rows % (ranks * micro):
        raise ValueError(
            f"a mini-batch of {rows} sequences on {ranks} ranks is no multiple of "
            f"training.verl.micro_batch_size_per_gpu ({micro}): change that, or set use_dynamic_bsz: true"
        )


def _check_rows(study: Study, method: str) -> None:
    """What a meta-episode in several rows cannot have."""
    settings, training = study.methods[method], study.training
    if not settings.changes_context:
        return
    if settings.train is not None and settings.train.algorithm == "ppo":
        raise ValueError(f"methods.{method}: algorithm ppo values whole meta-episodes: use context: full")
    terms = [f"training.{name}" for name in ("kl_coef", "entropy_coeff") if getattr(training, name)]
    terms += ["train.llds_coef"] if settings.train and settings.train.llds_coef else []
    if terms and training.loss_aggregation != "token_mean":
        raise ValueError(
            f"methods.{method} has context: {settings.context}, a row for each episode, and verl gives these equal "
            f"weights in the term of {terms[0]}: set training.loss_aggregation: token_mean, or {terms[0]}: 0"
        )


def _data(study: Study, seed: int, files: RunFiles) -> dict[str, Any]:
    return {
        "train_files": str(files.train),
        "val_files": str(files.validation),
        "train_batch_size": study.training.train_batch_size,
        "max_prompt_length": study.training.verl.max_prompt_tokens,
        "max_response_length": study.protocol.longest_sequence,
        "truncation": "error",
        "trust_remote_code": False,
        "shuffle": True,
        "seed": seed,
        "dataloader_num_workers": 0 if on_cpu(study) else 4,
    }


def _trainer(run: TrainingRun, files: RunFiles) -> dict[str, Any]:
    training, resources = run.study.training, run.study.resources.train
    verl = training.verl
    return {
        "device": "cpu" if on_cpu(run.study) else "cuda",
        "nnodes": resources.nodes,
        "n_gpus_per_node": resources.gpus or verl.cpu_ranks // resources.nodes,
        "project_name": run.study.name,
        "experiment_name": run.reference,
        "logger": ["console", "file"],
        "total_training_steps": training.steps,
        # Steps end the training, however small the training set is.
        "total_epochs": 1_000_000,
        "save_freq": training.checkpoint_every,
        "test_freq": verl.validate_every if verl.validation_questions else -1,
        "val_before_train": False,
        "critic_warmup": 0,
        "resume_mode": "auto",
        "default_local_dir": str(files.checkpoints),
        "validation_data_dir": str(run.folder / "validation"),
        "v1": _one_step_off() if verl.mode == "one_step_off" else _synchronous(run),
    }


def _synchronous(run: TrainingRun) -> dict[str, Any]:
    """A step trains on its own groups, on those that vary where they are filtered."""
    filtered = run.study.training.filter_groups
    if filtered is None:
        return {"trainer_mode": TRAINER}
    episodes = run.study.methods[run.method].episodes
    settings = {"max_num_gen_batches": filtered.max_num_gen_batches, "episodes": episodes}
    return {"trainer_mode": TRAINER, "sampler": {"custom_sampler": _buffer("VariedBuffer"), "sampler_kwargs": settings}}


def _buffer(name: str) -> dict[str, str]:
    return {"path": "pkg://mrsearch.training.verl.rl.replay", "name": name}


def _one_step_off() -> dict[str, Any]:
    """One step's questions more than are trained on are under way; a step waits for all that began before it."""
    return {
        "trainer_mode": AHEAD,
        "colocate_async": {"num_warmup_batches": 1},
        "sampler": {
            "custom_sampler": _buffer("QuestionBuffer"),
            "max_off_policy_threshold": 2,
            "max_off_policy_strategy": "wait",
        },
    }
