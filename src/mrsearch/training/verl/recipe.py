"""From the typed study to verl's whole configuration."""

from __future__ import annotations

import contextlib
import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrsearch.config import Study
from mrsearch.config.verl import VerlTraining
from mrsearch.training.verl import recipe_model
from mrsearch.training.verl.composing import composed

if TYPE_CHECKING:
    from omegaconf import DictConfig

TRAINER = "mr_search"
"""Name of our trainer and of our agent loop in verl's registries."""
LEVELS = {"meta_episode_mean": "seq-mean-token-mean", "token_mean": "token-mean"}


@dataclass(frozen=True)
class Places:
    """Where a training reads and writes; all nodes must see these paths."""

    start: str
    """Hugging Face folder of the starting weights."""
    train: str
    """Parquet file of the training questions."""
    validation: str
    """Parquet file of the validation questions."""
    study: str
    """The resolved study."""
    agent_loops: str
    """verl's agent loop file."""
    run_dir: str
    """Folder of checkpoints and logs."""
    ray: str | None = None
    """Address of the Ray cluster."""

    @classmethod
    def below(cls, run_dir: Path, start: Path, ray: str | None = None) -> Places:
        """The places of a training whose own files lie in `run_dir`."""
        return cls(
            start=str(start),
            train=str(run_dir / "train.parquet"),
            validation=str(run_dir / "validation.parquet"),
            study=str(run_dir / "study.json"),
            agent_loops=str(run_dir / "agent_loops.yaml"),
            run_dir=str(run_dir),
            ray=ray,
        )


def settings(study: Study, model: str, method: str, seed: int, places: Places) -> dict[str, Any]:
    """What differs from verl's defaults, as nested mappings. ValueError where verl cannot do what the study asks."""
    chosen, training = study.methods[method], study.training
    own, train = training.verl, chosen.train
    assert train is not None and train.algorithm != "sft", f"{method} is no policy training"
    _check(study, method)
    critic = train.algorithm == "ppo"
    return {
        "data": _data(study, seed, places),
        "algorithm": {
            "adv_estimator": "gae" if critic else f"mrsearch_{train.algorithm}",
            # Between episodes; verl's own, between tokens, is 1 for the critic as for Search-R1.
            "gamma": 1.0 if critic else train.gamma,
            "lam": own.gae_lambda,
            "use_kl_in_reward": False,
            "rollout_correction": {"bypass_mode": own.old_logprobs == "rollout"},
        },
        "actor_rollout_ref": {
            "model": recipe_model.model(study, places.start),
            "actor": recipe_model.actor(study, seed, LEVELS[training.loss_aggregation]),
            "ref": recipe_model.reference(study),
            "rollout": recipe_model.rollout(study, method, seed, places.agent_loops, TRAINER),
        },
        "critic": recipe_model.critic(study, places.start, seed) if critic else {"enable": False},
        "reward": {"num_workers": 1},
        "trainer": _trainer(study, model, method, seed, places),
        "transfer_queue": {"backend": {"SimpleStorage": {"num_data_storage_units": own.agent_workers}}},
        "ray_kwargs": {"ray_init": {"address": places.ray}},
        TRAINER: {
            "model": model,
            "method": method,
            "seed": seed,
            "study": places.study,
            "run_dir": places.run_dir,
            "episodes": chosen.episodes,
            "algorithm": train.algorithm,
            "episode_mask": list(train.episode_mask) if train.episode_mask else None,
            "row_per_episode": chosen.context == "previous",
        },
    }


def compose(changes: dict[str, Any]) -> DictConfig:
    """The whole configuration of verl's trainer; a key that the installed verl does not have is a ValueError."""
    rollout = changes["actor_rollout_ref"]["rollout"]["name"]
    return composed("ppo_trainer", changes, TRAINER, _open_up, [f"actor_rollout_ref.rollout.name={rollout}"])


def _open_up(config: Any) -> None:
    config.ray_kwargs.ray_init.address = None
    for part in (config.actor_rollout_ref.model, config.critic.model):
        part.override_config = {"attn_implementation": None}
    for part in (config.actor_rollout_ref.actor, config.actor_rollout_ref.ref):
        part.fsdp_config.mixed_precision = None
    config.critic.fsdp.mixed_precision = None


def validate(config: DictConfig) -> None:
    """verl's own checks; ValueError or AssertionError says what it refuses. Reads the model's folder."""
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config

    with contextlib.redirect_stdout(io.StringIO()):
        validate_config(
            config=config, use_reference_policy=need_reference_policy(config), use_critic=need_critic(config)
        )


def as_yaml(config: DictConfig) -> str:
    """The whole configuration, references resolved."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(config, resolve=True, sort_keys=False)


def on_cpu(study: Study) -> bool:
    """Whether the training runs without GPUs, by the plug-in for rehearsals."""
    return study.resources.train.gpus == 0


def _check(study: Study, method: str) -> None:
    own, resources = study.training.verl, study.resources.train
    if (own.rollout == "transformers") != on_cpu(study):
        raise ValueError(
            f"training.verl.rollout ({own.rollout}) and resources.train.gpus ({resources.gpus}) do not fit: "
            "transformers runs without GPUs, sglang and vllm need them"
        )
    gpus = resources.gpus * resources.nodes or own.cpu_ranks
    if gpus % own.tensor_parallel or gpus % own.sequence_parallel:
        raise ValueError(
            f"resources.train has {gpus} GPUs, which training.verl.tensor_parallel ({own.tensor_parallel}) and "
            f"sequence_parallel ({own.sequence_parallel}) must divide"
        )
    rows = study.training.questions_per_step // study.training.minibatches * study.training.group_size
    rows *= study.methods[method].episodes if study.methods[method].context == "previous" else 1
    ranks, micro = gpus // own.sequence_parallel, own.micro_sequences_per_gpu
    if own.micro_tokens_per_gpu is None and rows % (ranks * micro):
        raise ValueError(
            f"a mini-batch of {rows} sequences on {ranks} ranks is no multiple of "
            f"training.verl.micro_sequences_per_gpu ({micro}): change that, or set micro_tokens_per_gpu"
        )
    if study.methods[method].context == "previous" and study.methods[method].train.algorithm == "ppo":  # type: ignore[union-attr]
        raise ValueError(f"methods.{method}: algorithm ppo values whole meta-episodes: use context: full")


def _data(study: Study, seed: int, places: Places) -> dict[str, Any]:
    return {
        "train_files": places.train,
        "val_files": places.validation,
        "train_batch_size": study.training.questions_per_step,
        "max_prompt_length": study.training.verl.prompt_tokens,
        "max_response_length": study.protocol.context_tokens,
        "truncation": "error",
        "shuffle": True,
        "seed": seed,
        "dataloader_num_workers": 0 if on_cpu(study) else 4,
    }


def _trainer(study: Study, model: str, method: str, seed: int, places: Places) -> dict[str, Any]:
    training, resources = study.training, study.resources.train
    own: VerlTraining = training.verl
    return {
        "device": "cpu" if on_cpu(study) else "cuda",
        "nnodes": resources.nodes,
        "n_gpus_per_node": resources.gpus or own.cpu_ranks // resources.nodes,
        "project_name": study.name,
        "experiment_name": f"{model}-{method}-seed{seed}",
        "logger": ["console", "file"],
        "total_training_steps": training.steps,
        # Steps end the training, however small the training set is.
        "total_epochs": 1_000_000,
        "save_freq": training.checkpoint_every,
        "test_freq": own.validate_every if own.validation_questions else -1,
        "val_before_train": False,
        "critic_warmup": 0,
        "resume_mode": "auto",
        "default_local_dir": f"{places.run_dir}/checkpoints",
        "validation_data_dir": f"{places.run_dir}/validation",
        "v1": {"trainer_mode": TRAINER},
    }


def described(places: Places) -> dict[str, str | None]:
    """The places as a mapping, for a run's record."""
    return asdict(places)
