"""From the typed study to the whole configuration of verl's supervised trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mrsearch.config import Study
from mrsearch.training.run import TrainingRun
from mrsearch.training.sft.loop import FINAL_RATE
from mrsearch.training.verl.attention import attention_implementation
from mrsearch.training.verl.compose import SINGLE, compose_with
from mrsearch.training.verl.run_files import RunFiles

if TYPE_CHECKING:
    from omegaconf import DictConfig

SECTION = "sft"
"""Key of what our own part of the trainer reads."""
DATASET = "pkg://mrsearch.training.verl.sft.dataset"


def ranks(study: Study) -> int:
    """Training processes: one a GPU, or as many as the study names where it asks for none."""
    return study.resources.sft.gpus or study.sft.cpu_ranks


def on_cpu(study: Study) -> bool:
    """Whether the training runs without GPUs, by the plug-in for rehearsals."""
    return study.resources.sft.gpus == 0


def settings(run: TrainingRun) -> dict[str, Any]:
    """What differs from verl's defaults, as nested mappings."""
    study, sft, cpu = run.study, run.study.sft, on_cpu(run.study)
    files = RunFiles(run.folder)
    engine: dict[str, Any] = {"strategy": "fsdp2", "seed": run.seed, "use_torch_compile": not cpu}
    if cpu:
        engine |= {"dtype": "float32", "mixed_precision": SINGLE}
    return {
        "data": {
            "train_files": [str(run.demonstrations), str(files.plan)],
            "val_files": None,
            "custom_cls": {"path": DATASET, "name": "PlannedDemonstrations"},
            "train_batch_size": sft.train_batch_size,
            "micro_batch_size_per_gpu": sft.micro_batch_size,
            "use_dynamic_bsz": False,
            "pad_mode": "no_padding",
            "max_length": study.protocol.longest_sequence,
            "truncation": "error",
            "num_workers": 0 if cpu else 4,
        },
        "model": {
            "path": str(run.inputs.start),
            "trust_remote_code": False,
            "enable_gradient_checkpointing": not cpu,
            "use_remove_padding": True,
            "override_config": {"attn_implementation": attention_implementation(study.training.verl, cpu)},
        },
        "engine": engine,
        "optim": {
            "lr": sft.learning_rate,
            "betas": list(sft.betas),
            "weight_decay": sft.weight_decay,
            "clip_grad": sft.max_grad_norm,
            "lr_warmup_steps": sft.warmup_steps,
            "lr_warmup_steps_ratio": 0.0,
            "lr_scheduler_type": "cosine",
            "min_lr_ratio": FINAL_RATE,
            # The first step of a warm-up is not lost to a rate of 0.
            "zero_indexed_step": False,
        },
        "trainer": {
            "device": "cpu" if cpu else "cuda",
            "nnodes": 1,
            "n_gpus_per_node": ranks(study),
            "project_name": study.name,
            "experiment_name": run.reference,
            "logger": ["console", "file"],
            # The plan repeats the demonstrations: one pass over it is the whole training.
            "total_epochs": 1,
            "total_training_steps": sft.steps,
            "save_freq": sft.checkpoint_every,
            "test_freq": -1,
            "resume_mode": "auto",
            "default_local_dir": str(files.checkpoints),
        },
        SECTION: {**run.names, "run": str(files.run)},
    }


def compose(changes: dict[str, Any]) -> DictConfig:
    """The whole configuration of verl's trainer; a key that the installed verl does not have is a ValueError."""
    return compose_with("sft_trainer_engine", changes, SECTION, _open_up)


def _open_up(config: Any) -> None:
    config.model.override_config = {"attn_implementation": None}
    config.engine.mixed_precision = None
