"""Shipped studies load; what cannot work is refused with the key's path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from support.project import ROOT

from mrsearch.config import ConfigError, Run, Study, digest, load_run, load_study, read_study, write_study

STUDIES = sorted((ROOT / "config" / "studies").glob("*.yaml"))


def load(root: Path, study: str = "demo", **overrides: Any) -> Study:
    return load_study(Run(study=study, overrides=overrides), root)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_shipped_study_loads_and_is_named_after_its_file(path: Path) -> None:
    assert read_study(path).name == path.stem


def test_the_paper_study_has_seven_averaged_benchmarks_and_asearcher(root: Path) -> None:
    study = load(root, "paper")
    averaged = [name for name, benchmark in study.benchmarks.items() if benchmark.average]
    assert len(averaged) == 7
    assert set(study.benchmarks) - set(averaged) == {"asearcher"}
    assert study.methods["mr_search"].episodes == 3
    assert (study.training.group_size, study.training.learning_rate, study.training.steps) == (5, 1e-6, 300)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("trainin.steps", 2, "trainin: unknown key"),
        ("training.step", 2, "training.step: unknown key"),
        ("training.steps", "ten", "training.steps: "),
        ("training.steps", True, "training.steps: is no truth value"),
        ("training.steps", 0, "training.steps: "),
        ("methods.mr_search.episodes", 0, "methods.mr_search.episodes: "),
        ("methods.mr_search.compare_with", "nobody", "methods.mr_search.compare_with ('nobody') is not a method"),
        ("methods.mr_search.train.start", "direct", "methods.mr_search.train.start ('direct') is not a trained method"),
        ("methods.direct.policy", "rag", "methods.direct.policy ('rag') is not a trained method"),
        ("methods.direct.episodes", 2, "procedure 'direct' answers in one generation"),
        (
            "methods.noted",
            {"episodes": 2, "context": "summary", "train": {"algorithm": "mr_search", "turn_credit": {}}},
            "context: summary ends episodes with one that does neither",
        ),
        ("protocol.prompts.budget", "many left", "lacks the field {searches}"),
        ("methods.base", {}, "methods.base"),
        ("benchmarks.popular.source", "single_hop", "benchmarks.popular reads 'single_hop'"),
        ("benchmarks", {}, "benchmarks is empty"),
        ("report.baseline", "nobody", "report.baseline ('nobody') is not a method"),
        ("report.decoding", "beam", "report.decoding ('beam') is not in evaluation.decoding"),
        ("retrieval.use", "bm25", "retrieval.use ('bm25') is not among retrieval.retrievers"),
        ("retrieval.topk", 1000, "retrieval.topk (1000) is larger than retrieval.service.max_topk"),
        ("protocol.max_turn_tokens", 640, "max_turn_tokens (640) must be smaller than max_context_tokens (640)"),
        ("protocol.prompts.search", "no field", "lacks the field {question}"),
        ("training.mini_batch_size", 5, "train_batch_size (32) must be a multiple of mini_batch_size (5)"),
        ("models.tiny.heads", 3, "hidden_size (128) must be a multiple of heads (3)"),
        ("methods.a/b", {"procedure": "direct"}, "'a/b' is not a usable name"),
        ("seeds", [1, 1], "seeds ([1, 1]) repeats a seed"),
        ("name.deeper", 1, "overrides.name.deeper: name is not a group of keys"),
    ],
)
def test_what_cannot_work_is_refused_with_its_key(root: Path, key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(root, **{key: value})
    assert message in str(error.value)
    assert "demo.yaml" in str(error.value)


def test_methods_that_start_from_each_other_are_refused(root: Path) -> None:
    circle = {"a": {"train": {"algorithm": "grpo", "start": "b"}}, "b": {"train": {"algorithm": "grpo", "start": "a"}}}
    with pytest.raises(ConfigError, match="runs in a circle: a -> b -> a"):
        load(root, **{"methods": circle, "report.baseline": "a"})


def test_training_on_a_folder_needs_training_questions(root: Path) -> None:
    training = {"methods.agent.train": {"algorithm": "grpo"}}
    with pytest.raises(ConfigError, match=r"methods.agent.train needs training questions: .* in data.train"):
        load(root, "real-smoke", **training)
    study = load(root, "real-smoke", **training, **{"data.train": "questions/train.jsonl"})
    assert study.training_stage("agent") == "train"


@pytest.mark.parametrize("key", ["validation_share", "drop_overlap"])
def test_what_is_about_training_questions_needs_some(root: Path, key: str) -> None:
    value = {"validation_share": 0.5, "drop_overlap": True}[key]
    with pytest.raises(ConfigError, match=rf"data.folder: {key} \({value}\) .* name their file in train"):
        load(root, "real-smoke", **{f"data.{key}": value})


@pytest.mark.parametrize("share", [0, 1, 1.5, -0.1, "many"])
def test_a_validation_share_leaves_both_sides_something(root: Path, share: Any) -> None:
    with pytest.raises(ConfigError, match=r"data.folder.validation_share: "):
        load(root, "real-smoke", **{"data.train": "t.jsonl", "data.validation_share": share})


def test_an_unknown_study_names_the_known_ones(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"'dmo'.*demo, demo-verl, .*paper, .*real-smoke"):
        load(root, "dmo")


def test_an_unknown_key_of_the_run_is_refused() -> None:
    with pytest.raises(ConfigError, match="config: studdy: unknown key"):
        load_run({"studdy": "demo"})


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: 1\na: 2\n", "appears twice"), ("a: [1\n", "bad.yaml"), ("- a\n", "holds list, not a mapping")],
)
def test_a_broken_file_is_refused_with_its_name(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"bad\.yaml") as error:
        read_study(path)
    assert message in str(error.value)


def test_text_from_the_command_line_is_read_as_the_scalar_that_it_spells(root: Path) -> None:
    run = load_run({"seeds": ["4", "5"], "overrides": {"training.steps": "7", "training.token_budget": "null"}})
    study = load_study(run, root)
    assert study.seeds == (4, 5)
    assert (study.training.steps, study.training.token_budget) == (7, None)


def test_one_seed_may_be_given_without_a_list(root: Path) -> None:
    assert load_study(load_run({"seeds": 9}), root).seeds == (9,)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_written_study_reads_back_equal(path: Path, tmp_path: Path) -> None:
    study = read_study(path)
    write_study(study, tmp_path / "new" / "study.json")
    assert read_study(tmp_path / "new" / "study.json") == study
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["study.json"]


def test_a_digest_depends_on_values_alone(root: Path) -> None:
    study = load(root)
    assert digest(study) == digest(load(root))
    assert digest(study) != digest(load(root, **{"training.steps": 399}))
    assert digest({"a": study.report}) != digest({"b": study.report})
    with pytest.raises(TypeError, match="set has no place in a digest"):
        digest({1, 2})


def test_an_override_is_the_same_as_the_key_in_the_file(root: Path, tmp_path: Path) -> None:
    raw = yaml.safe_load((root / "config/studies/demo.yaml").read_text())
    raw["training"]["steps"] = 11
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    assert read_study(path) == load(root, **{"training.steps": 11})


def test_a_nucleus_does_not_fit_the_probabilities_of_the_server(root: Path) -> None:
    """vLLM's are those within the nucleus; the trained model's are of the whole distribution."""
    keys = {"training.backend": "verl", "training.top_p": 0.95, "training.verl.old_logprobs": "rollout"}
    with pytest.raises(ConfigError, match=r"top_p \(0.95\) does not fit verl.old_logprobs: rollout"):
        load_study(Run(study="paper", overrides=keys), root)
    for change in ({"training.top_p": 1.0}, {"training.verl.old_logprobs": "recompute"}):
        load_study(Run(study="paper", overrides=keys | change), root)


def test_vllm_generates_where_nothing_else_is_said(root: Path) -> None:
    for study in ("paper", "asearcher", "ablations", "baselines"):
        chosen = load_study(Run(study=study), root)
        assert (chosen.training.verl.rollout, chosen.evaluation.generator.kind) == ("vllm", "vllm")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training.verl.rollout_is": "token"}, "backend: local has no verl.rollout_is: remove it"),
        ({"training.verl.fused_kernels": "triton"}, "backend: local has no verl.fused_kernels"),
        ({"training.verl.chunked_entropy": True}, "backend: local has no verl.chunked_entropy"),
        ({"training.loss_aggregation": "meta_episode_sum"}, "loss_scale_factor (None) goes with"),
        ({"training.loss_scale_factor": 100}, "loss_scale_factor (100) goes with"),
        ({"training.dual_clip": 1.0}, "training.dual_clip"),
        (
            {"training.backend": "verl", "training.verl": {"rollout_is": "token", "old_logprobs": "rollout"}},
            "rollout_is",
        ),
        (
            {"training.backend": "verl", "training.verl": {"use_dynamic_bsz": False, "max_token_len_per_gpu": 9}},
            "max_token_len_per_gpu (9) needs use_dynamic_bsz: true",
        ),
    ],
)
def test_options_of_the_loss_that_have_no_effect_are_refused(root: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_study(Run(study="demo", overrides=changes), root)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resources.train.gpus": 2}, "resources.train (2 GPUs on 1 nodes): methods.search_r1 trains in one process"),
        ({"resources.warm_start": {"gpus": 1, "nodes": 2}}, "resources.warm_start (1 GPUs on 2 nodes)"),
        (
            {"training.local.max_token_len_per_gpu": 639},
            "training.local.max_token_len_per_gpu (639) is less than the longest sequence of methods.search_r1 (640",
        ),
    ],
)
def test_a_training_in_one_process_has_one_gpu_and_room_for_a_sequence(
    root: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        load_study(Run(study="demo", overrides=changes), root)
    assert message in str(refused.value)
