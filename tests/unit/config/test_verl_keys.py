"""Which keys of verl's configuration a study may set by verl's own names."""

from __future__ import annotations

from typing import Any

import pytest

from mrsearch.config import Run, load_study
from mrsearch.config.verl_keys import refusal

FREE = ("trainer.balance_batch", "actor_rollout_ref.rollout.max_num_seqs", "critic.cliprange_value")


@pytest.mark.parametrize("key", FREE)
def test_a_key_that_the_recipe_does_not_set_is_free(root, key: str) -> None:
    assert refusal(key) is None
    changes = {"training.verl.overrides": {key: 3}}
    assert load_study(Run(study="paper", overrides=changes), root).training.verl.overrides == {key: 3}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("actor_rollout_ref.actor.optim.lr", 1e-5, "the recipe sets it from training.learning_rate: set that"),
        ("critic.optim.lr", 1e-5, "the recipe sets it from training.verl.critic_learning_rate: set that"),
        ("actor_rollout_ref.rollout.agent", 1, "the recipe sets it from training.verl.agent_workers: set that"),
        ("algorithm.rollout_correction", 1, "the recipe sets it from training.verl."),
        ("actor_rollout_ref.model.lora.rank", 8, "the recipe sets it from training.lora: set that"),
        ("actor_rollout_ref.model.lora_adapter_path", "x", "the recipe sets it from training.lora: set that"),
        ("critic.model.path", "x", "the recipe sets it from models: set that"),
        ("actor_rollout_ref.rollout.val_kwargs.n", 4, "validation is greedy"),
        ("actor_rollout_ref.rollout.engine_kwargs.vllm.trust_remote_code", True, "code in a model's folder never runs"),
        ("algorithm.filter_groups.enable", True, "the recipe sets it from training.filter_groups: set that"),
        ("trainer.resume_mode", "disable", "always goes on from its newest checkpoint: remove it"),
        ("balance_batch", True, "'balance_batch' is no dotted key of verl's"),
        ("+trainer.balance_batch", True, "is no dotted key of verl's"),
        ("trainer.group_name", "${oc.env:HOME}", "refers to another value"),
        ("trainer.group_name", ["${data.seed}"], "refers to another value"),
        ("trainer.group_name", {"a": 1}, "training.verl.overrides"),
    ],
)
def test_others_are_refused_with_the_way_to_set_them(root, key: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match="overrides") as refused:
        load_study(Run(study="paper", overrides={"training.verl.overrides": {key: value}}), root)
    assert message in str(refused.value)


def test_the_local_trainer_reads_no_key_of_verl(root) -> None:
    changes = {"training.verl.overrides": {"trainer.balance_batch": False}}
    with pytest.raises(ValueError, match=r"backend: local has no verl\.overrides: remove it, or set backend: verl"):
        load_study(Run(study="demo", overrides=changes), root)
