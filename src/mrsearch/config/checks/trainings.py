"""Trainings have what they learn from, and room for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrsearch.config.methods import ONE_GENERATION
from mrsearch.config.resources import Resources

if TYPE_CHECKING:
    from mrsearch.config.study import Study


def demonstrations_exist(study: Study) -> None:
    """What a method imitates can be made of the study's questions for its procedure."""
    for name, method in study.methods.items():
        if not method.train:
            continue
        if study.training_stage(name) == "warm_start" and study.data.kind != "world":
            raise ValueError(
                f"methods.{name}.train.algorithm (sft) needs scripted demonstrations, which only data.kind: world "
                "has: set train.demonstrations to gold_answers or self_generated"
            )
        if method.train.demonstrations == "gold_answers" and method.procedure not in ONE_GENERATION:
            raise ValueError(
                f"methods.{name}.train.demonstrations (gold_answers) has no reply for procedure "
                f"{method.procedure}: use one of {', '.join(ONE_GENERATION)}, or demonstrations: self_generated"
            )


def critics_have_a_trainer(study: Study) -> None:
    """An algorithm with a critic runs where there is one."""
    for name, method in study.methods.items():
        if method.train and method.train.algorithm == "ppo" and study.training_of(name).backend == "local":
            raise ValueError(
                f"methods.{name}.train.algorithm (ppo) needs a critic, which training.backend: local does not "
                "have; use verl"
            )


def training_questions_exist(study: Study) -> None:
    """A folder of data has questions to train on."""
    for name, method in study.methods.items():
        if method.train and study.data.kind == "folder" and study.data.train is None:
            raise ValueError(
                f"methods.{name}.train needs training questions: name their file below data.path in data.train, or "
                "evaluate with policy: base"
            )


def groups_can_be_compared(study: Study) -> None:
    """An algorithm that compares meta-episodes of a question has several."""
    for name, method in study.methods.items():
        size = study.training_of(name).group_size
        if method.train and method.train.compares and size < 2:
            raise ValueError(
                f"training.group_size ({size}): methods.{name} trains by "
                f"{method.train.algorithm}, which compares the meta-episodes of a question: set 2 or more"
            )


def local_trainings_have_one_gpu(study: Study) -> None:
    """A training in one process has one GPU at most."""
    for name in _local_trainings(study):
        stage = study.training_stage(name)
        resources: Resources = getattr(study.resources, stage)
        if resources.gpus * resources.nodes > 1:
            raise ValueError(
                f"resources.{stage} ({resources.gpus} GPUs on {resources.nodes} nodes): methods.{name} trains in "
                "one process, which uses one GPU: set gpus and nodes to 1, or use training.backend: verl"
            )


def passes_hold_the_longest_sequence(study: Study) -> None:
    """A pass of the local trainer has room for its longest sequence."""
    for name in _local_trainings(study):
        longest = study.of(name).protocol.longest_sequence
        tokens = study.training_of(name).local.max_token_len_per_gpu
        if study.training_stage(name) == "train" and tokens is not None and tokens < longest:
            raise ValueError(
                f"training.local.max_token_len_per_gpu ({tokens}) is less than the longest sequence of "
                f"methods.{name} ({longest} tokens): raise it, or lower protocol.max_context_tokens"
            )


def fine_tuning_fits_its_ranks(study: Study) -> None:
    """verl's supervised training has one node, and a batch that its ranks can share."""
    tuned = [name for name, method in study.methods.items() if method.train and study.trained_by_verl(name)]
    if not any(study.training_stage(name) == "sft" for name in tuned):
        return
    settings, resources = study.sft, study.resources.sft
    if resources.nodes != 1:
        raise ValueError(f"resources.sft.nodes ({resources.nodes}): sft.backend verl trains on one node: set 1")
    ranks = resources.gpus or settings.cpu_ranks
    if settings.train_batch_size % (ranks * settings.micro_batch_size):
        raise ValueError(
            f"sft.train_batch_size ({settings.train_batch_size}) must be a multiple of sft.micro_batch_size "
            f"({settings.micro_batch_size}) on each of {ranks} ranks"
        )


def _local_trainings(study: Study) -> list[str]:
    """Methods that are trained in one process, but for those that learn from answers or from what they sampled."""
    return [
        name
        for name, method in study.methods.items()
        if method.train and not study.trained_by_verl(name) and study.training_stage(name) != "sft"
    ]


TRAININGS = (
    demonstrations_exist,
    critics_have_a_trainer,
    training_questions_exist,
    groups_can_be_compared,
    local_trainings_have_one_gpu,
    passes_hold_the_longest_sequence,
    fine_tuning_fits_its_ranks,
)
