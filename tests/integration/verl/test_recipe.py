"""Every recipe of the paper composes with the installed verl and passes verl's own checks."""

import subprocess
from pathlib import Path

import pytest
import yaml
from support.project import ROOT
from support.trainings import training_run

from mrsearch.config import Run, load_study
from mrsearch.training.rl.learning_rate import learning_rate
from mrsearch.training.verl.rl import advantage, recipe
from mrsearch.training.verl.rl.recipe_model import optimizer

STUDIES = {
    name: load_study(Run(study=name), ROOT) for name in ("paper", "asearcher", "ablations", "baselines", "rivals")
}
TRAINED = {
    name: [each for each, method in study.methods.items() if method.train and study.training_stage(each) == "train"]
    for name, study in STUDIES.items()
}
MAIN = {"mr_search", "search_r1", "search_r1_long"}
CASES = [
    (study, model, method, nodes, rollout)
    for study, methods in TRAINED.items()
    for model in ("qwen2.5-3b", "qwen2.5-7b")
    for method in methods
    for nodes in (1, 2)
    for rollout in ("sglang", "vllm")
    # Ablations are of the 7B model; nodes and engines do not depend on the variant.
    if study not in ("ablations", "baselines", "rivals")
    or (model == "qwen2.5-7b" and (nodes, rollout) == (1, "sglang"))
]


def compose_with(shared, study, model, method, overrides=None):
    chosen = load_study(Run(study=study, overrides=overrides or {}), ROOT)
    config = recipe.compose(recipe.settings(training_run(chosen, model, method, 0, shared, Path("/run"))))
    recipe.validate(config)
    return config


def test_the_studies_hold_every_recipe():
    assert set(TRAINED["paper"]) >= MAIN and set(TRAINED["asearcher"]) >= MAIN
    assert set(TRAINED["rivals"]) > MAIN
    assert set(TRAINED["baselines"]) == {"r1", "search_r1", "search_r1_ppo"}
    assert set(TRAINED["ablations"]) == MAIN | {
        "gamma_0",
        "ppo",
        "mt_grpo",
        "exploration",
        "step_level",
        "short_context",
    }


@pytest.mark.parametrize(("study", "model", "method", "nodes", "rollout"), CASES)
def test_recipe_composes_and_validates(shared, study, model, method, nodes, rollout):
    from verl.trainer.ppo.core_algos import get_adv_estimator_fn
    from verl.utils.config import omega_conf_to_dataclass

    changes = {"resources.train.nodes": nodes, "training.verl.rollout": rollout}
    config = compose_with(shared, study, model, method, changes)
    assert config.trainer.nnodes == nodes
    for part in (config.actor_rollout_ref.model, config.critic.model, config.data):
        assert part.trust_remote_code is False
    assert config.trainer.n_gpus_per_node == 8
    assert config.actor_rollout_ref.rollout.name == rollout
    assert config.actor_rollout_ref.rollout.n == 5
    assert config.data.train_batch_size == (64 if study == "asearcher" else 512)
    assert config.actor_rollout_ref.actor.ppo_mini_batch_size == (32 if study == "asearcher" else 256)
    assert config.data.max_response_length == (16384 if study == "asearcher" else 8192)
    assert config.actor_rollout_ref.actor.loss_agg_mode == "seq-mean-token-mean"
    assert config.actor_rollout_ref.actor.optim.lr == 1e-6
    assert config.trainer.total_training_steps == 300
    assert config.actor_rollout_ref.rollout.top_p == 1.0
    critic = STUDIES[study].methods[method].train.algorithm == "ppo"
    assert config.critic.enable is critic
    if not critic:
        advantage.register()
        assert callable(get_adv_estimator_fn(config.algorithm.adv_estimator))
    for part in (config.actor_rollout_ref.rollout, config.actor_rollout_ref.actor, config.algorithm):
        assert omega_conf_to_dataclass(part) is not None


@pytest.mark.parametrize(
    ("study", "model", "gpus", "tokens"),
    [
        ("paper-3b-4x80", "qwen2.5-3b", 4, 16384),
        ("paper-7b-8x80", "qwen2.5-7b", 8, 16384),
        ("paper-qwen3", "qwen3-4b", 8, 16384),
        ("paper-qwen3", "qwen3-8b", 8, 16384),
        ("paper-3b-lora-1x80", "qwen2.5-3b", 1, 16384),
        ("paper-3b-lora-4x24", "qwen2.5-3b", 4, 8192),
    ],
)
def test_a_profile_composes_and_validates(shared, study, model, gpus, tokens):
    config = compose_with(shared, study, model, "mr_search")
    assert config.trainer.n_gpus_per_node == gpus
    actor = config.actor_rollout_ref.actor
    assert (actor.use_dynamic_bsz, actor.ppo_max_token_len_per_gpu) == (True, tokens)
    assert (config.data.train_batch_size, actor.ppo_mini_batch_size) == (512, 256)


def test_adapters_are_trained_saved_alone_and_merged_for_servers(shared):
    from verl.utils.config import omega_conf_to_dataclass

    chosen = {"training.lora": {"rank": 8, "target_modules": ["q_proj", "v_proj"]}, "training.kl_coef": 0.1}
    config = compose_with(shared, "paper", "qwen2.5-7b", "mr_search", chosen)
    model = omega_conf_to_dataclass(config.actor_rollout_ref.model)
    assert (model.lora_rank, model.lora_alpha, list(model.target_modules)) == (8, 32, ["q_proj", "v_proj"])
    assert model.lora["merge"] is True
    assert omega_conf_to_dataclass(config.actor_rollout_ref.actor).checkpoint.save_lora_only is True
    plain = recipe.settings(training_run(STUDIES["paper"], "qwen2.5-7b", "mr_search", 0, shared, Path("/run")))
    assert not any("lora" in key for key in plain["actor_rollout_ref"]["model"])
    assert plain["actor_rollout_ref"]["actor"]["checkpoint"].keys() == {"save_contents"}


def test_values_of_the_released_scripts_can_be_expressed(shared):
    scripts = {"training.steps": 500, "training.top_p": 0.95, "training.loss_aggregation": "token_mean"}
    scripts["training.verl.use_dynamic_bsz"] = False
    config = compose_with(shared, "paper", "qwen2.5-7b", "mr_search", scripts)
    assert config.trainer.total_training_steps == 500
    assert config.actor_rollout_ref.rollout.top_p == 0.95
    assert config.actor_rollout_ref.actor.loss_agg_mode == "token-mean"
    assert config.actor_rollout_ref.actor.fsdp_config.param_offload is True
    assert config.actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu == 4


def test_variants_reach_the_trainer(shared):
    own = {method: compose_with(shared, "ablations", "qwen2.5-7b", method) for method in TRAINED["ablations"]}
    assert own["gamma_0"].algorithm.gamma == 0.0
    assert list(own["exploration"].mr_search.episode_mask) == [0, 0, 1, 1]
    assert own["short_context"].mr_search.row_per_episode is True
    assert own["ppo"].algorithm.adv_estimator == "gae"
    assert own["mt_grpo"].algorithm.adv_estimator == "mrsearch_mt_grpo"
    assert own["step_level"].mr_search.episodes == 6


def test_the_whole_configuration_is_printed_from_the_environment_without_verl():
    command = [str(ROOT / ".venv" / "bin" / "mrsearch"), "verl-config", "--study", "paper"]
    command += ["--model", "qwen2.5-7b", "--method", "mr_search", "--seed", "4"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    printed = yaml.safe_load(done.stdout)
    assert printed["mr_search"]["seed"] == printed["actor_rollout_ref"]["rollout"]["seed"] == 4
    assert {"data", "algorithm", "actor_rollout_ref", "critic", "trainer", "transfer_queue"} <= set(printed)
    wrong = subprocess.run(
        [*command[:-4], "--method", "direct", "--seed", "0"], cwd=ROOT, capture_output=True, text=True
    )
    assert wrong.returncode == 2
    assert "methods.direct is not trained by verl" in wrong.stderr


def test_a_key_that_verl_does_not_have_is_refused(shared):
    study = load_study(Run(study="paper"), ROOT)
    changes = recipe.settings(training_run(study, "qwen2.5-7b", "mr_search", 0, shared, Path("/run")))
    changes["data"]["max_obs_length"] = 1024
    with pytest.raises(ValueError, match="max_obs_length"):
        recipe.compose(changes)


def test_overrides_reach_verl_where_its_keys_are_known(shared):
    chosen = {
        "actor_rollout_ref.rollout.max_num_seqs": 512,
        "actor_rollout_ref.rollout.engine_kwargs.vllm.quantization": "fp8",
        "actor_rollout_ref.actor.policy_loss.clip_cov_ratio": 0.01,
        "trainer.balance_batch": False,
    }
    config = compose_with(shared, "paper", "qwen2.5-7b", "mr_search", {"training.verl.overrides": chosen})
    assert config.actor_rollout_ref.rollout.max_num_seqs == 512
    assert config.actor_rollout_ref.rollout.engine_kwargs.vllm.quantization == "fp8"
    assert config.actor_rollout_ref.actor.policy_loss.clip_cov_ratio == 0.01
    assert config.trainer.balance_batch is False
    assert config.actor_rollout_ref.model.override_config.attn_implementation == "flex_attention"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("trainer.balance_bach", False, "has no key trainer.balance_bach: did you mean trainer.balance_batch?"),
        ("actor.entropy_checkpointing", True, "did you mean actor_rollout_ref.actor.entropy_checkpointing or"),
        ("ray_kwargs.ray_init.num_gpus", 1, "did you mean ray_kwargs.ray_init.num_cpus"),
        ("mr_search.run", "x", "the installed verl has no key mr_search.run"),
        ("trainer.balance_batch", "no", "is 'no', where verl has a truth value (True): write a truth value"),
        ("actor_rollout_ref.rollout.max_num_seqs", "512", "where verl has a number (256): write a number"),
        ("actor_rollout_ref.rollout.engine_kwargs", 1, "is a section of verl's configuration: name a key of it"),
    ],
)
def test_an_override_that_verl_does_not_know_is_refused(shared, key, value, message):
    study = load_study(Run(study="paper", overrides={"training.verl.overrides": {key: value}}), ROOT)
    with pytest.raises(ValueError, match=r"training\.verl\.overrides") as refused:
        recipe.compose(recipe.settings(training_run(study, "qwen2.5-7b", "mr_search", 0, shared, Path("/run"))))
    assert message in str(refused.value)


def test_a_cosine_is_that_of_the_local_trainer():
    import torch
    from verl.utils.torch_functional import get_cosine_schedule_with_warmup

    rates = {"learning_rate": 0.5, "warmup_steps": 3, "lr_scheduler_type": "cosine", "min_lr_ratio": 0.1}
    study = load_study(Run(study="demo", overrides={"training": {"backend": "verl", "steps": 9, **rates}}), ROOT)
    settings = optimizer(study, study.training.learning_rate)
    assert settings["lr_scheduler_type"] == "cosine"
    steps = {"num_warmup_steps": settings["lr_warmup_steps"], "num_training_steps": study.training.steps}
    ends = {key: settings[key] for key in ("min_lr_ratio", "zero_indexed_step")}
    updated = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=settings["lr"])
    schedule = get_cosine_schedule_with_warmup(updated, **steps, **ends)
    for step in range(9):
        assert schedule.get_last_lr() == pytest.approx([learning_rate(study.training, step, 0)])
        updated.step()
        schedule.step()
