"""What a study will cost: the arithmetic by hand, the parts that depend on each other, and words for what is wrong."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from mrsearch.cli import app
from mrsearch.config import Run, load_study
from mrsearch.config.models import FolderModel, HubModel
from mrsearch.planning import memory, speed
from mrsearch.planning.plan import Plan, summary
from mrsearch.planning.shapes import PUBLISHED, shape_of
from mrsearch.planning.show import plan_text

SEVEN = PUBLISHED["Qwen2.5-7B"]
H100 = speed.card_named("h100")


def plan_of(root, study="paper", **overrides):
    return Plan(load_study(Run(study=study, overrides=overrides), root), H100, speed.Assumptions())


@pytest.mark.parametrize(
    ("name", "billions"),
    [("Qwen2.5-0.5B", 0.49), ("Qwen2.5-3B", 3.09), ("Qwen2.5-7B", 7.62), ("Qwen3-8B", 8.19), ("Llama-3.1-8B", 8.03)],
)
def test_shapes_have_the_published_number_of_parameters(name, billions):
    assert PUBLISHED[name].parameters / 1e9 == pytest.approx(billions, rel=0.01)


def test_keys_and_values_of_a_token():
    assert SEVEN.kv_bytes == 2 * 2 * 28 * 4 * 128 == 57_344
    assert PUBLISHED["Qwen2.5-3B"].kv_bytes == 36_864


def test_methods_that_share_a_policy_start_once(root):
    """The paper's ten methods are four jobs a model, of two models: twelve starts of five minutes fewer."""
    alone, together = (plan_of(root, **{"evaluation.share_policy": share}).rows() for share in (False, True))
    assert sum(row.gpu_hours for row in alone) - sum(row.gpu_hours for row in together) == pytest.approx(1.0)


def test_a_shape_is_read_from_the_models_own_folder(tmp_path):
    config = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 96}
    (tmp_path / "config.json").write_text(json.dumps(config | {"vocab_size": 100}))
    shape = shape_of(FolderModel(path=str(tmp_path)))
    assert (shape.layers, shape.kv_heads, shape.head, shape.vocabulary) == (2, 4, 16, 100)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"config\.json: lacks 'vocab_size'"):
        shape_of(FolderModel(path=str(tmp_path)))


@pytest.mark.parametrize("billions", [0.3, 1.0, 3.0, 8.0, 32.0])
def test_an_unknown_model_is_guessed_to_have_about_its_parameters(billions):
    shape = shape_of(HubModel(repository="somebody/else", revision="0" * 40, parameters=billions))
    assert shape.guessed
    assert shape.parameters / 1e9 == pytest.approx(billions, rel=0.5)


def test_memory_of_the_papers_seven_billion(root):
    items = memory.training_memory(load_study(Run(study="paper"), root), SEVEN)
    assert sum(items[name] for name in memory.STATE) == pytest.approx(16 * 7.61e9 / 8, rel=0.01)
    assert items["logits"] == 4 * 8192 * 152_064 * 2
    assert items["inputs of checkpointed blocks"] == 28 * 4 * 8192 * 3584 * 2
    assert 40e9 < sum(items.values()) < 60e9


def test_updates_of_a_step_by_hand():
    seconds = speed.update_seconds(SEVEN, 7.7e6, 8, H100, 0.4, recompute=True, kl=False)
    assert seconds == pytest.approx(10 * 7.61e9 * 7.7e6 / (8 * 989e12 * 0.4), rel=0.01)
    assert speed.update_seconds(SEVEN, 7.7e6, 8, H100, 0.4, False, True) == pytest.approx(seconds)
    assert speed.update_seconds(SEVEN, 7.7e6, 8, H100, 0.4, True, False, frozen=True) == pytest.approx(0.8 * seconds)


def test_generation_is_bound_by_reading_weights_once_a_token_at_one_slot():
    one = speed.generation_seconds(SEVEN, 1, speed.Length(100, 0), 1, 1, H100, 0.5)
    assert one == pytest.approx(100 * (2 * SEVEN.parameters + 50 * SEVEN.kv_bytes) / (H100.bandwidth * 0.5))
    assert speed.generation_seconds(SEVEN, 64, speed.Length(100, 0), 64, 1, H100, 0.5) < 1.2 * one


def test_the_paper_study_is_priced_whole(root):
    plan = plan_of(root)
    rows = list(plan.rows())
    assert plan.questions() == 53_112
    stages = [row.stage for row in rows if row.model == "qwen2.5-7b"]
    assert stages.count("base model") == 1
    assert {f"evaluation: {method}" for method in plan.study.methods} < set(stages)
    total = summary(plan.study, rows)
    assert total.gpu_hours == sum(row.jobs * row.gpus * row.hours for row in rows)
    assert total.node == 8
    assert 100 < total.gpu_hours < 3000


def test_more_seeds_cost_more_and_more_gpus_save_time(root):
    trainings = [row for row in plan_of(root).rows() if row.stage == "training: mr_search"]
    seeded = plan_of(root, seeds=[0, 1, 2])
    assert [row.jobs for row in seeded.rows() if row.stage == "training: mr_search"] == [3, 3]
    halved = plan_of(root, **{"resources.train.gpus": 4})
    for row, slower in zip(trainings, (r for r in halved.rows() if r.stage == "training: mr_search"), strict=True):
        assert slower.hours > 1.7 * row.hours
        assert slower.gpu_memory > row.gpu_memory


def test_a_plan_says_how_many_batches_a_step_may_generate(root):
    note = "hours: of 1 generated batch a step, where filter_groups allows 3"
    filtered = plan_of(root, **{"training.filter_groups": {"max_num_gen_batches": 3}})
    rows = [row for row in filtered.rows() if row.model == "qwen2.5-7b"]
    assert note in next(row.note for row in rows if row.stage == "training: mr_search")
    assert note in plan_text(filtered, rows, summary(filtered.study, rows))
    assert not [row for row in plan_of(root).rows() if "filter_groups" in row.note]


def test_what_does_not_fit_the_card_is_said(root):
    row = next(
        row for row in plan_of(root, **{"resources.train.gpus": 1}).rows() if "7b" in row.model and "train" in row.stage
    )
    assert row.note == "more than a h100 has"


def test_the_command_names_its_assumptions(root, monkeypatch):
    monkeypatch.chdir(root)
    shown = CliRunner().invoke(app, ["plan", "paper", "--assume", "mfu=0.3"])
    assert shown.exit_code == 0
    assert "mfu 0.3" in shown.output
    assert "GPU hours" in shown.output
    update = memory.training_memory(load_study(Run(study="paper"), root), SEVEN)
    assert f"Training qwen2.5-7b, on each GPU: {sum(update.values()) / 1e9:.1f} GB in an update" in shown.output
    assert f"moments {update['moments'] / 1e9:.1f} GB" in shown.output
    assert "No stage asks for GPUs" in CliRunner().invoke(app, ["plan", "demo"]).output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--card", "abacus"], r"card \('abacus'\) is not known: known are h100"),
        (["--assume", "mfu"], "is not name=number"),
        (["--assume", "speed=3"], "known are mfu"),
        (["--assume", "mfu=0"], "all above 0"),
        (["--assume", "mfu=nan"], "all above 0"),
    ],
)
def test_wrong_options_are_named(root, monkeypatch, arguments, message):
    monkeypatch.chdir(root)
    with pytest.raises(ValueError, match=message):
        CliRunner().invoke(app, ["plan", "paper", *arguments], catch_exceptions=False)
