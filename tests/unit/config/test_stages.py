"""A change of settings reruns the stages that depend on it, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mrsearch.config import Run, Study, load_study, stages


def digests(study: Study) -> dict[str, str]:
    """Digest of one job of each stage."""
    return {
        "train questions": stages.questions(study, "train"),
        "questions": stages.questions(study, "two_hop"),
        "corpus": stages.corpus(study),
        "index": stages.index(study, "dense"),
        "base": stages.base_model(study, "tiny"),
        "warm start": stages.train(study, "tiny", "warm_start"),
        "train": stages.train(study, "tiny", "mr_search"),
        "evaluate": stages.evaluate(study, "mr_search"),
        "report": stages.report(study),
    }


@pytest.mark.parametrize(
    ("key", "value", "changed"),
    [
        ("report.seed", 5, {"report"}),
        ("methods.mr_search.label", "Ours", {"report"}),
        ("methods.direct.label", "None", {"report"}),
        ("training.steps", 7, {"train"}),
        ("training.dual_clip", 3.0, {"train"}),
        ("training.checkpoint_minutes", 5.0, set()),
        ("training.entropy_coeff", 0.001, {"train"}),
        ("training.lr_scheduler_type", "cosine", {"train"}),
        ("training.min_lr_ratio", 0.5, set()),
        ("training.lora", {}, {"train"}),
        ("training.filter_groups", {}, {"train"}),
        ("training.verl.validate_every", 7, set()),
        ("training.reasoning.action", "stop", set()),
        ("training.local.validate_every", 10, set()),
        ("training.local.validation_questions", 50, {"train"}),
        ("training.local.dtype", "bfloat16", {"train"}),
        ("training.local.concurrency", 8, {"train"}),
        ("training.local.logits_chunk", None, set()),
        ("warm_start.local.logits_chunk", 8, {"warm start"}),
        ("sft.local.gradient_checkpointing", True, set()),
        ("warm_start.steps", 7, {"warm start"}),
        ("warm_start.persistence", None, set()),
        ("warm_start.persistence", 0.1, {"warm start"}),
        ("data.distractor_rate", 0.0, set()),
        ("data.distractor_rate", 0.1, {"corpus", "base"}),
        ("methods.mr_search.train.gamma", 0.0, {"train"}),
        ("training.reward.base", "f1", {"train"}),
        ("training.reward.base", "em", set()),
        ("methods.mr_search.train.reward.terms.searches", -0.1, {"train"}),
        ("methods.search_r1.train.reward.terms.searches", -0.1, set()),
        ("methods.mr_search.episodes", 2, {"train", "evaluate"}),
        ("methods.search_r1.max_turns", 2, set()),
        ("evaluation.decoding.sampled.temperature", 0.5, {"evaluate"}),
        ("evaluation.share_policy", True, set()),
        ("evaluation.generator.gpu_memory_utilization", 0.5, set()),
        ("evaluation.generator.requests", 7, set()),
        ("evaluation.generator.deadline_seconds", 7.0, {"evaluate"}),
        ("retrieval.topk", 2, {"warm start", "train", "evaluate"}),
        ("retrieval.service.lease_seconds", 60.0, set()),
        ("resources.train.threads", 2, set()),
        ("data.questions_per_benchmark", 50, {"questions", "base"}),
        ("data.train_questions", 50, {"train questions", "base"}),
        ("data.seed", 8, {"train questions", "questions", "corpus", "base"}),
        ("benchmarks.two_hop.label", "Two", {"report"}),
        ("benchmarks.two_hop.yes_no_rule", True, {"evaluate", "report"}),
        ("seeds", [1, 2], {"report"}),
        ("title", "Another", {"report"}),
    ],
)
def test_a_setting_changes_the_digests_of_its_stages(root: Path, key: str, value: Any, changed: set[str]) -> None:
    before = digests(load_study(Run(), root))
    after = digests(load_study(Run(overrides={key: value}), root))
    assert {stage for stage in before if before[stage] != after[stage]} == changed


def test_alarms_change_no_training_with_verl(root: Path) -> None:
    keys = {"training.verl.health.action": "stop", "training.verl.health.patience": 3, "training.verl.export": "best"}
    studies = [load_study(Run(study="demo-verl", overrides=keys if n else {}), root) for n in range(2)]
    trained = [stages.train(study, "tiny", "mr_search") for study in studies]
    assert trained[0] != trained[1], "the export is another"
    alarms = {key: value for key, value in keys.items() if "health" in key}
    assert stages.train(load_study(Run(study="demo-verl", overrides=alarms), root), "tiny", "mr_search") == trained[0]


def test_without_adapters_trainings_keep_the_digests_from_before_there_were_any(root: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(stages, "digest", lambda *values: repr(values))
    for name, model in (("demo", "tiny"), ("paper", "qwen2.5-3b")):
        plain, adapted = (load_study(Run(study=name, overrides={"training.lora": lora}), root) for lora in (None, {}))
        assert "'lora'" not in stages.train(plain, model, "mr_search")
        assert "'lora'" in stages.train(adapted, model, "mr_search")


def test_prompts_reach_everything_that_shows_them(root: Path) -> None:
    before = digests(load_study(Run(), root))
    after = digests(load_study(Run(overrides={"protocol.prompts.search": "q {question}"}), root))
    same = {stage for stage in before if before[stage] == after[stage]}
    assert same == {"corpus", "index", "report"}


def data_digests(study: Study) -> dict[str, str]:
    """Digests of what the data's keys decide."""
    datasets = {f"{name} questions": stages.questions(study, name) for name in ("train", *study.benchmarks)}
    return {**datasets, "corpus": stages.corpus(study)}


OWN = {"data.train": "t.jsonl", "benchmarks": {"nq": {}, "held": {"source": "validation"}}}
HELD = OWN | {"data.validation_share": 0.1}


@pytest.mark.parametrize(
    ("key", "value", "changed"),
    [
        ("data.train", "u.jsonl", {"train", "held"}),
        ("data.validation_share", 0.2, {"train", "held"}),
        ("data.drop_overlap", True, {"train"}),
        ("data.questions_per_benchmark", 2, {"nq", "held", "corpus"}),
    ],
)
def test_what_is_trained_on_leaves_a_folders_benchmarks_alone(
    root: Path, key: str, value: Any, changed: set[str]
) -> None:
    whole = HELD | {"data.passages": None}
    before = data_digests(load_study(Run(study="real-smoke", overrides=whole), root))
    after = data_digests(load_study(Run(study="real-smoke", overrides=whole | {key: value}), root))
    assert {name.removesuffix(" questions") for name in before if before[name] != after[name]} == changed


def test_the_passages_around_training_questions_follow_them(root: Path) -> None:
    before = stages.corpus(load_study(Run(study="real-smoke", overrides=HELD), root))
    for key, value, same in (("data.train", "u.jsonl", False), ("data.drop_overlap", True, True)):
        after = stages.corpus(load_study(Run(study="real-smoke", overrides=HELD | {key: value}), root))
        assert (before == after) == same, key


def test_studies_that_train_on_other_published_questions_share_their_passages(root: Path) -> None:
    before = data_digests(load_study(Run(study="paper"), root))
    after = data_digests(load_study(Run(study="paper", overrides={"data.train": "asearcher_train"}), root))
    assert {name for name in before if before[name] != after[name]} == {"train questions"}
