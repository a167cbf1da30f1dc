"""From the typed study to the whole configuration of verl's supervised trainer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrsearch.config import Study
from mrsearch.training.supervised import FINAL_RATE
from mrsearch.training.verl.composing import composed
from mrsearch.training.verl.recipe_model import SINGLE

if TYPE_CHECKING:
    from omegaconf import DictConfig

OWN = "fine_tuning"
"""Key of what our own part of the trainer reads."""
DATASET = "pkg://mrsearch.training.verl.sft_dataset"


@dataclass(frozen=True)
class Places:
    """Where a fine-tuning reads and writes."""

    start: str
    """Hugging Face folder of the starting weights."""
    traces: str
    """Parquet file of the traces."""
    plan: str
    """Parquet file of the order in which they are trained on."""
    study: str
    """The resolved study."""
    run_dir: str
    """Folder of checkpoints and logs."""

    @classmethod
    def below(cls, run_dir: Path, start: Path, traces: Path) -> Places:
        """The places of a fine-tuning whose own files lie in `run_dir`."""
        own = (run_dir / "plan.parquet", run_dir / "study.json", run_dir)
        return cls(str(start), str(traces), *map(str, own))


def ranks(study: Study) -> int:
    """Training processes: one a GPU, or as many as the study names where it asks for none."""
    return study.resources.fine_tuning.gpus or study.fine_tuning.cpu_ranks


def on_cpu(study: Study) -> bool:
    """Whether the training runs without GPUs, by the plug-in for rehearsals."""
    return study.resources.fine_tuning.gpus == 0


def settings(study: Study, model: str, method: str, seed: int, places: Places) -> dict[str, Any]:
    """What differs from verl's defaults, as nested mappings."""
    own, cpu = study.fine_tuning, on_cpu(study)
    engine: dict[str, Any] = {"strategy": "fsdp2", "seed": seed, "use_torch_compile": not cpu}
    if cpu:
        engine |= {"dtype": "float32", "mixed_precision": SINGLE}
    return {
        "data": {
            "train_files": [places.traces, places.plan],
            "val_files": None,
            "custom_cls": {"path": DATASET, "name": "PlannedTraces"},
            "train_batch_size": own.batch_traces,
            "micro_batch_size_per_gpu": own.microbatch,
            "use_dynamic_bsz": False,
            "pad_mode": "no_padding",
            "max_length": study.protocol.context_tokens,
            "truncation": "error",
            "num_workers": 0 if cpu else 4,
        },
        "model": {
            "path": places.start,
            "enable_gradient_checkpointing": not cpu,
            # Sequences packed without padding need flash-attn.
            "use_remove_padding": not cpu,
            "override_config": {"attn_implementation": "sdpa" if cpu else "flash_attention_2"},
        },
        "engine": engine,
        "optim": {
            "lr": own.learning_rate,
            "betas": list(own.betas),
            "weight_decay": own.weight_decay,
            "clip_grad": own.max_gradient_norm,
            "lr_warmup_steps": own.warmup_steps,
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
            "experiment_name": f"{model}-{method}-seed{seed}",
            "logger": ["console", "file"],
            # The plan repeats the traces: one pass over it is the whole training.
            "total_epochs": 1,
            "total_training_steps": own.steps,
            "save_freq": own.checkpoint_every,
            "test_freq": -1,
            "resume_mode": "auto",
            "default_local_dir": f"{places.run_dir}/checkpoints",
        },
        OWN: {"model": model, "method": method, "seed": seed, "study": places.study, "run_dir": places.run_dir},
    }


def compose(changes: dict[str, Any]) -> DictConfig:
    """The whole configuration of verl's trainer; a key that the installed verl does not have is a ValueError."""
    return composed("sft_trainer_engine", changes, OWN, _open_up)


def _open_up(config: Any) -> None:
    config.model.override_config = {"attn_implementation": None}
    config.engine.mixed_precision = None
