"""One recorded batch gives the same advantages and the same gradient from the local trainer and from verl's actor."""

import os
import random
import socket
from functools import partial

import pytest
import torch
from support.project import ROOT
from support.trainings import training_run

from mrsearch.agent.renderer import Renderer
from mrsearch.agent.spec import AgentSpec
from mrsearch.config import Run, load_study
from mrsearch.learning.advantages import advantages
from mrsearch.learning.losses import token_weights
from mrsearch.policy.torch_policy import TorchPolicy
from mrsearch.retrieval.service.client import HttpEngine
from mrsearch.training.rl.rollouts import draw_questions, reward_tensors, roll_out, training_rows
from mrsearch.training.rl.updates import policy_loss
from mrsearch.training.sequences import pad
from mrsearch.training.verl.rl import advantage, recipe
from mrsearch.training.verl.rl.agent_loop import outputs
from mrsearch.training.verl.rl.batches import read_row
from mrsearch.training.verl.rl.rows import FACTS

CONTEXTS = {"full": "mr_search", "previous": "short"}
LEVELS = ["token_mean", "meta_episode_mean"]


@pytest.fixture(scope="module")
def study(overrides):

    short = {"episodes": 3, "context": "previous", "train": {"algorithm": "mr_search"}}
    return load_study(Run(study="demo", overrides={**overrides, "methods.short": short}), ROOT)


@pytest.fixture(scope="module", params=CONTEXTS)
def recorded(request, study, shared, retriever):
    """Real meta-episodes of an untrained model; some of its answers are made right, so that rewards differ."""
    from mrsearch.agent.questions import read_questions

    method = CONTEXTS[request.param]
    policy = TorchPolicy.load(shared / "base")
    spec = AgentSpec.of(study, method)
    questions = draw_questions(read_questions(shared / "train.parquet"), study.training.train_batch_size, 0, 0)
    engine = HttpEngine(retriever, study.retrieval.client)
    renderer = Renderer(policy.tokenizer, study.protocol)
    metas = roll_out(questions, policy, engine, spec, renderer, study.training, seed=0, step=0)
    rng = random.Random(7)
    for meta in metas:
        for episode in meta.episodes:
            episode.answer = rng.choice([None, "wrong", meta.question.golden_answers[0]])
        # A policy that has moved since: the ratio is not 1, and some of it is clipped.
        meta.logprobs = [
            value + rng.gauss(0, 0.2) * mask for value, mask in zip(meta.logprobs, meta.loss_mask, strict=True)
        ]
    engine.close()
    return method, metas


@pytest.fixture(scope="module")
def engine(study, shared):
    """verl's FSDP2 engine with the untrained model, one rank, float32."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    os.environ["MASTER_PORT"] = str(port)
    from mrsearch.training.verl.cpu import worker

    worker.start_process_group()
    worker.register_engines()
    from verl.utils.config import omega_conf_to_dataclass
    from verl.workers.engine.base import EngineRegistry

    run = training_run(study, "tiny", "mr_search", 0, shared, shared)
    actor = recipe.compose(recipe.settings(run)).actor_rollout_ref
    config = omega_conf_to_dataclass(actor.actor)
    made = EngineRegistry.new(
        model_type="language_model",
        backend="fsdp2",
        model_config=omega_conf_to_dataclass(actor.model),
        engine_config=config.engine,
        optimizer_config=config.optim,
        checkpoint_config=config.checkpoint,
    )
    made.initialize()
    yield made, config
    torch.distributed.destroy_process_group()
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name, None)  # other tests' processes are no ranks


def local_rows(study, method, metas):
    train = study.methods[method].train
    rewards, exists = reward_tensors(metas, study.training.group_size, 3, study.protocol.scoring)
    assert rewards.unique().numel() == 2
    gains = advantages(train.algorithm, rewards, exists, gamma=train.gamma, episode_mask=train.episode_mask)
    return training_rows(metas, gains, study.protocol)


def verl_rows(study, method, metas):
    """What the agent loop makes of the meta-episodes, under the keys of verl's queue."""
    made = []
    for number, meta in enumerate(metas):
        question, member = divmod(number, study.training.group_size)
        for index, row in enumerate(outputs(meta, study, 3, {})):
            made.append((f"q{question}_{member}_{index}", row))
    rows = [read_row(key, output.extra_fields[FACTS], False) for key, output in made]
    masks = pad([output.response_mask for _, output in made], torch.long)
    return [output for _, output in made], rows, masks


def test_advantages_are_equal(study, recorded):
    method, metas = recorded
    local = local_rows(study, method, metas)
    made, rows, masks = verl_rows(study, method, metas)
    values = advantage.token_advantages(rows, masks, "mr_search", 3)
    assert len(local) == len(made)
    assert values.abs().sum() > 0
    for one, output, row in zip(local, made, values, strict=True):
        whole = [0.0] * len(output.prompt_ids) + row[: len(output.response_ids)].tolist()
        assert one.advantages == whole
        assert one.token_ids == output.prompt_ids + output.response_ids
        assert one.logprobs == [0.0] * len(output.prompt_ids) + output.response_logprobs


@pytest.mark.parametrize("level", LEVELS)
def test_gradients_are_equal(study, recorded, engine, shared, level, record_property):
    method, metas = recorded
    training = study.training.model_copy(update={"loss_aggregation": level})
    ours = local_gradient(shared, local_rows(study, method, metas), training)
    theirs = verl_gradient(study, method, metas, engine, level)
    assert ours.keys() == theirs.keys()
    difference = sum((ours[name] - theirs[name]).square().sum() for name in ours).sqrt()
    size = sum(value.square().sum() for value in ours.values()).sqrt()
    assert size > 1e-4
    record_property("relative_error", float(difference / size))
    assert difference / size < 1e-5


def local_gradient(shared, rows, training):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(shared / "base", dtype=torch.float32)
    members = torch.tensor([row.meta_episode for row in rows])
    weights = token_weights(pad([row.loss_mask for row in rows], torch.bool), members, training.loss_aggregation)
    weights = [weights[number, : len(row.token_ids)] for number, row in enumerate(rows)]
    loss, sums = policy_loss(model, rows, weights, training)
    assert 0 < sums["clipped"] < sums["trained"]
    loss.backward()
    return {name: value.grad for name, value in model.named_parameters()}


def verl_gradient(study, method, metas, engine, level):
    from tensordict import TensorDict
    from verl.utils import tensordict_utils as tu
    from verl.workers.utils.losses import ppo_loss

    made_engine, config = engine
    made, rows, masks = verl_rows(study, method, metas)
    per_episode = study.methods[method].context == "previous"
    values = advantage.token_advantages(rows, masks, "mr_search", 3)
    if level == "meta_episode_mean":
        values = values * advantage.row_scale(rows, 3, per_episode)[:, None]

    def nested(rows, dtype):
        return torch.nested.as_nested_tensor([torch.tensor(row, dtype=dtype) for row in rows], layout=torch.jagged)

    whole = [output.prompt_ids + output.response_ids for output in made]
    data = TensorDict(
        {
            "input_ids": nested(whole, torch.long),
            "position_ids": nested([list(range(len(row))) for row in whole], torch.long),
            "prompts": nested([output.prompt_ids for output in made], torch.long),
            "responses": nested([output.response_ids for output in made], torch.long),
            "response_mask": nested([output.response_mask for output in made], torch.long),
            "loss_mask": nested([output.response_mask for output in made], torch.long),
            "old_log_probs": nested([output.response_logprobs for output in made], torch.float32),
            "advantages": nested(
                [row[: len(output.response_ids)].tolist() for row, output in zip(values, made, strict=True)],
                torch.float32,
            ),
        },
        batch_size=len(made),
    )
    # A mini-batch of verl has as many rows as meta-episodes are expected, times their rows; some may not exist.
    size = len(metas) * (3 if per_episode else 1)
    tu.assign_non_tensor(data, temperature=1.0, global_batch_size=size, micro_batch_size_per_gpu=1)
    tu.assign_non_tensor(data, use_dynamic_bsz=False, use_remove_padding=False, calculate_entropy=False)
    object.__setattr__(config, "loss_agg_mode", recipe.LEVELS[level])
    with made_engine.train_mode():
        made_engine.optimizer_zero_grad()
        made_engine.forward_backward_batch(data, partial(ppo_loss, config=config))
        gradients = {name: value.grad.full_tensor().clone() for name, value in made_engine.module.named_parameters()}
        made_engine.optimizer_zero_grad()
    return gradients
