"""One recorded batch gives the same advantages and the same gradient from the local trainer and from verl's actor."""

import dataclasses
import math
import os
import random
import socket
from functools import partial
from typing import NamedTuple

import pytest
import torch
from support.project import ROOT
from support.trainings import training_run

from mrsearch.agent.beliefs import GoldReply, information_gains
from mrsearch.agent.records import ActionKind, MetaEpisode
from mrsearch.agent.renderer import Renderer
from mrsearch.agent.rewards import episode_rewards
from mrsearch.agent.spec import AgentSpec
from mrsearch.config import Run, load_study
from mrsearch.config.lora import Lora
from mrsearch.learning.advantages import advantages
from mrsearch.learning.losses import token_weights
from mrsearch.policy.causal_model import load_model
from mrsearch.policy.torch_policy import TorchPolicy
from mrsearch.retrieval.service.client import HttpEngine
from mrsearch.training.adapters import Adapters, reference_of
from mrsearch.training.rl.rollouts import draw_questions, reward_tensors, roll_out, training_rows
from mrsearch.training.rl.turns import advantages_of_turns, member_turns
from mrsearch.training.rl.updates import policy_loss
from mrsearch.training.sequences import pad, score_tokens
from mrsearch.training.turns import MemberTurns
from mrsearch.training.verl.export import WRAPPER, merged_state, with_adapters
from mrsearch.training.verl.rl import advantage, recipe
from mrsearch.training.verl.rl.agent_loop import outputs
from mrsearch.training.verl.rl.batches import FetchedBatch, read_row
from mrsearch.training.verl.rl.beliefs import ask, probes_of
from mrsearch.training.verl.rl.correction import rollout_weights
from mrsearch.training.verl.rl.rows import FACTS

METHODS = ["mr_search", "short", "shaped", "credited", "noted"]
OPTIONS = {
    "token mean": {"loss_aggregation": "token_mean"},
    "meta-episode mean": {"loss_aggregation": "meta_episode_mean"},
    "without length bias": {"loss_aggregation": "meta_episode_sum", "loss_scale_factor": 64},
    "clip-higher": {"loss_aggregation": "token_mean", "clip_range_high": 0.4},
    "no dual clip": {"loss_aggregation": "token_mean", "dual_clip": None},
    "a close dual clip": {"loss_aggregation": "meta_episode_mean", "dual_clip": 1.25},
    "sequence ratio": {"importance_sampling_level": "sequence", "clip_range": 0.005, "clip_range_high": 0.01},
    "entropy bonus": {"loss_aggregation": "token_mean", "entropy_coeff": 0.2},
    "KL in the loss": {"loss_aggregation": "token_mean", "kl_coef": 0.5},
}
CASES = [
    *((method, name) for method in METHODS[:2] for name in OPTIONS),
    *((method, name) for method in METHODS[2:] for name in ("token mean", "meta-episode mean", "sequence ratio")),
]
"""Rewards and credit reach the loss through advantages alone, and LLDS stands beside whatever is clipped."""


class Recording(NamedTuple):
    method: str
    metas: list[MetaEpisode]
    members: list[MemberTurns]
    renderer: Renderer


@pytest.fixture(scope="module")
def study(overrides):
    short = {"episodes": 3, "context": "previous", "train": {"algorithm": "mr_search"}}
    noted = {"episodes": 3, "context": "summary", "train": {"algorithm": "mr_search"}}
    terms = {"searches": -0.05, "invalid_actions": -0.1, "repeated_answers": -0.2, "improvement": 0.5}
    reward = {"base": "f1", "terms": terms, "last_episode": 0.5, "last_episode_repetition": 0.1}
    credit = {"turn_credit": {"weight": 0.5, "gamma": 0.9}}
    shaped = {"episodes": 3, "train": {"algorithm": "reinforce", "reward": reward, "llds_coef": 0.5, **credit}}
    train = {"algorithm": "mr_search", "mask_abnormal_turns": True, **credit}
    credited = {"episodes": 3, "context": "previous", "train": train}
    methods = {"methods.short": short, "methods.noted": noted, "methods.shaped": shaped, "methods.credited": credited}
    return load_study(Run(study="demo", overrides={**overrides, **methods}), ROOT)


@pytest.fixture(scope="module", params=METHODS)
def recorded(request, study, shared, retriever):
    """Real meta-episodes of an untrained model; some of its answers are made right, so that rewards differ."""
    from mrsearch.agent.questions import read_questions

    method = request.param
    policy = TorchPolicy.load(shared / "base")
    spec = AgentSpec.of(study, method)
    questions = draw_questions(read_questions(shared / "train.parquet"), study.training.train_batch_size, 0, 0)
    engine = HttpEngine(retriever, study.retrieval.client)
    renderer = Renderer(policy.tokenizer, study.protocol)
    metas = roll_out(questions, policy, engine, spec, renderer, study.training, seed=0, step=0)
    rng = random.Random(7)
    for meta in metas:
        for turn in (turn for episode in meta.episodes for turn in episode.turns):
            turn.action, turn.content = rng.choice([(ActionKind.search, "a"), (ActionKind.invalid, "")])
        for episode in meta.episodes:
            episode.answer = rng.choice([None, "wrong", meta.question.golden_answers[0]])
        # A policy that has moved since: the ratio is not 1, and some of it is clipped.
        meta.logprobs = [
            value + rng.gauss(0, 0.2) * mask for value, mask in zip(meta.logprobs, meta.loss_mask, strict=True)
        ]
    engine.close()
    members = member_turns(metas, policy.model, renderer, study.methods[method].train, study.training)
    return Recording(method, metas, members, renderer)


@pytest.fixture(scope="module")
def ranks():
    """One rank."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    os.environ["MASTER_PORT"] = str(port)
    from mrsearch.training.verl.cpu import worker

    worker.start_process_group()
    worker.register_engines()
    yield
    torch.distributed.destroy_process_group()
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name, None)  # other tests' processes are no ranks


def make_engine(study, shared):
    """verl's FSDP2 engine with the untrained model, float32."""
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
    return made


@pytest.fixture(scope="module")
def engine(study, shared, ranks):
    return make_engine(study, shared)


@pytest.fixture(scope="module")
def adapted(study, shared, ranks):
    """A study with LoRA, the local trainer's adapters as training might have left them, and verl's engine with the same
    ones."""
    from transformers import AutoModelForCausalLM

    options = {"lora": Lora(rank=2, alpha=6), "kl_coef": 0.5, "loss_aggregation": "token_mean"}
    changed = study.model_copy(update={"training": study.training.model_copy(update=options)})
    model = AutoModelForCausalLM.from_pretrained(shared / "base", dtype=torch.float32)
    adapters = Adapters(model, changed.training.lora)
    generator, made = torch.Generator().manual_seed(5), make_engine(changed, shared)
    theirs = {name: weight for name, weight in made.module.named_parameters() if weight.requires_grad}
    assert theirs.keys() == {WRAPPER + name for name in adapters.state_dict()}
    with torch.no_grad():
        for name, weight in adapters.named_parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
            theirs[WRAPPER + name].to_local().copy_(weight)
    return changed, adapters, made


def local_rows(study, recorded):
    method, metas, members, _ = recorded
    train = study.methods[method].train
    reward = study.reward_of(method)
    values = [episode_rewards(meta, reward, study.protocol).values for meta in metas]
    rewards, exists = reward_tensors(values, study.training.group_size, 3)
    assert (rewards.unique().numel() == 2) == reward.plain
    values = advantages(train.algorithm, rewards, exists, gamma=train.gamma, episode_mask=train.episode_mask)
    turns = advantages_of_turns(members, values, train) if train.by_turn else None
    return training_rows(metas, values, study.protocol, turns)


def verl_rows(study, recorded):
    """What the agent loop makes of the meta-episodes, under the keys of verl's queue."""
    made = []
    for number, meta in enumerate(recorded.metas):
        question, member = divmod(number, study.training.group_size)
        gold = GoldReply.of(meta, recorded.renderer)
        for index, row in enumerate(outputs(meta, study, recorded.method, {}, gold=gold)):
            made.append((f"q{question}_{member}_{index}", row))
    rows = [read_row(key, output.extra_fields[FACTS], False) for key, output in made]
    masks = pad([output.response_mask for _, output in made], torch.long)
    return [output for _, output in made], rows, masks


def verl_advantages(study, recorded, rows, masks):
    """With the local trainer's information gains: turns are compared within groups, where differences of rounding may
    become large."""
    train, size = study.methods[recorded.method].train, study.training.group_size
    gains = {(f"q{m // size}", f"{m % size:06d}"): member.gains for m, member in enumerate(recorded.members)}
    return advantage.token_advantages(rows, masks, train.algorithm, 3, train.gamma, None, train, gains)


def test_advantages_are_equal(study, recorded):
    local = local_rows(study, recorded)
    made, rows, masks = verl_rows(study, recorded)
    values = verl_advantages(study, recorded, rows, masks)
    assert len(local) == len(made)
    assert values.abs().sum() > 0
    for one, output, row in zip(local, made, values, strict=True):
        whole = [0.0] * len(output.prompt_ids) + row[: len(output.response_ids)].tolist()
        assert one.advantages == whole
        assert one.token_ids == output.prompt_ids + output.response_ids
        assert one.logprobs == [0.0] * len(output.prompt_ids) + output.response_logprobs


def test_turns_of_an_episode_differ_where_they_are_credited_alone(study, recorded):
    _, rows, masks = verl_rows(study, recorded)
    values = verl_advantages(study, recorded, rows, masks)
    differing = 0
    for row, value, mask in zip(rows, values, masks, strict=True):
        for _, first, end in row.spans:
            differing += value[first:end][mask[first:end].bool()].unique().numel() > 1
    assert (differing > 0) == study.methods[recorded.method].train.by_turn


class Workers:
    """The actor's engine as verl's worker group is called."""

    def __init__(self, engine):
        self.engine = engine

    def compute_log_prob(self, data):
        from verl.utils import tensordict_utils as tu

        tu.assign_non_tensor(data, use_dynamic_bsz=False, use_remove_padding=False, micro_batch_size_per_gpu=1)
        with self.engine.eval_mode():
            return self.engine.infer_batch(data, loss_function=None)["model_output"]


def test_verl_believes_what_the_local_trainer_believes(study, recorded, engine):
    if study.methods[recorded.method].train.turn_credit is None:
        assert not any(member.gains for member in recorded.members)
        return
    made, rows, masks = verl_rows(study, recorded)
    facts = [output.extra_fields[FACTS] for output in made]
    fetched = FetchedBatch(rows, facts, [""] * len(rows), masks, masks)
    probes = probes_of(fetched, [row.prompt_ids for row in made], [row.response_ids for row in made])
    beliefs = ask(Workers(engine), probes, 1.0, 7)
    size = study.training.group_size
    found = 0
    for m, member in enumerate(recorded.members):
        values = beliefs[f"q{m // size}", f"{m % size:06d}"]
        assert min(values.values()) > 0 and max(values.values()) < 1
        theirs = information_gains(values, list(member.episodes))
        assert [gain is None for gain in theirs] == [gain is None for gain in member.gains]
        ours = [gain for gain in member.gains if gain is not None]
        assert [gain for gain in theirs if gain is not None] == pytest.approx(ours, abs=1e-6)
        found += len(ours)
    assert found > 0


@pytest.mark.parametrize(("recorded", "name"), CASES, indirect=["recorded"])
def test_gradients_are_equal(study, recorded, engine, shared, name, record_property):
    training = study.training.model_copy(update=OPTIONS[name])
    rows = local_rows(study, recorded)
    anchors = anchor_logprobs(anchor(shared), rows)
    ours = local_gradient(shared, rows, training, study.methods[recorded.method].train.llds_coef)
    changed = study.model_copy(update={"training": training})
    theirs = verl_gradient(changed, recorded, engine, anchors, shared)
    assert_equal(ours, theirs, record_property)


@pytest.mark.parametrize("recorded", METHODS[:1], indirect=True)
def test_gradients_of_adapters_are_equal(recorded, adapted, shared, record_property):
    """The KL term looks at the policy without its adapters."""
    study, adapters, engine = adapted
    rows = local_rows(study, recorded)
    anchors = anchor_logprobs(reference_of(adapters), rows)
    ours = local_gradient(shared, rows, study.training, adapters=adapters)
    assert all(".lora_" in name for name in ours)
    assert_equal(ours, verl_gradient(study, recorded, engine, anchors, shared), record_property)


def test_servers_get_weights_with_adapters_and_the_trained_model_keeps_them_apart(adapted, shared):
    from safetensors.torch import load_file

    _, adapters, engine = adapted
    before = {name: weight.full_tensor().clone() for name, weight in engine.module.state_dict().items()}
    streamed, described = engine.get_per_tensor_param()
    sent = {name: weight.clone() for name, weight in streamed}
    assert described is None, "a server would be told of adapters"
    state, plain = adapters.state_dict(), load_file(shared / "base" / "model.safetensors")
    assert sent.keys() - {"lm_head.weight"} == plain.keys()
    for name, weight in plain.items():
        a, b = (state.get(name.replace(".weight", f".lora_{side}.default.weight")) for side in "AB")
        by_hand = weight if a is None else weight + 6 / 2 * b @ a
        torch.testing.assert_close(sent[name], by_hand, rtol=0, atol=1e-6)
    after = engine.module.state_dict()
    assert all(torch.equal(weight, after[name].full_tensor()) for name, weight in before.items())


def test_a_checkpoint_of_adapters_is_taken_up_and_merges_to_what_servers_get(adapted, shared, tmp_path):
    study, adapters, engine = adapted
    sent = {name: weight.clone() for name, weight in engine.get_per_tensor_param()[0]}
    engine.save_checkpoint(str(tmp_path))
    state = merged_state(tmp_path)
    assert state.keys() == {WRAPPER + name for name in adapters.state_dict()}
    merged = with_adapters(load_model(shared / "base", "auto", generates=False), state, study.training.lora)
    for name, weight in merged.state_dict().items():
        torch.testing.assert_close(weight, sent[name], rtol=0, atol=1e-6)
    with torch.no_grad():
        for weight in engine.module.parameters():
            if weight.requires_grad:
                weight.zero_()
    engine.load_checkpoint(str(tmp_path))
    assert all(torch.equal(weight, sent[name]) for name, weight in engine.get_per_tensor_param()[0])


def assert_equal(ours, theirs, record_property):
    assert ours.keys() == theirs.keys()
    difference = sum((ours[name] - theirs[name]).square().sum() for name in ours).sqrt()
    size = sum(value.square().sum() for value in ours.values()).sqrt()
    assert size > 1e-4
    record_property("relative_error", float(difference / size))
    assert difference / size < 1e-5


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("recorded", METHODS[:2], indirect=True)
def test_truncated_importance_weights_scale_each_token(study, recorded, engine, shared, level, record_property):
    """The server sampled by other probabilities than the model before the step has: by hand, token after token."""
    own = study.training.verl.model_copy(update={"rollout_is": level, "rollout_is_threshold": 1.1})
    training = study.training.model_copy(update={"verl": own, "loss_aggregation": "token_mean"})
    changed = study.model_copy(update={"training": training})
    rng = random.Random(11)
    local, sampled, touched = local_rows(study, recorded), [], set()
    for number, row in enumerate(local):
        server = [old - rng.gauss(0, 0.1) * mask for old, mask in zip(row.logprobs, row.loss_mask, strict=True)]
        ratios = [math.exp(old - value) for old, value in zip(row.logprobs, server, strict=True)]
        whole = math.prod(ratio for ratio, mask in zip(ratios, row.loss_mask, strict=True) if mask)
        weights = [min(1.1, ratio if level == "token" else whole) for ratio in ratios]
        touched |= {weight < 1.1 for weight in weights}
        sampled.append(server)
        advantages = [value * weight for value, weight in zip(row.advantages, weights, strict=True)]
        local[number] = dataclasses.replace(row, advantages=advantages)
    assert touched == {True, False}
    ours = local_gradient(shared, local, training)
    theirs = verl_gradient(changed, recorded, engine, sampled, shared)
    assert_equal(ours, theirs, record_property)


def anchor_logprobs(model, rows):
    """What another policy than the trained one makes of the rows' tokens, as the reference of a KL term does."""
    with torch.no_grad():
        return [
            scattered(row.loss_mask, score_tokens(model, *alone(row.token_ids, row.loss_mask)).logprobs_K)
            for row in rows
        ]


def alone(tokens, mask):
    return torch.tensor([tokens]), torch.tensor([mask], dtype=torch.bool)


def scattered(mask, values):
    remaining = iter(values.tolist())
    return [next(remaining) if trained else 0.0 for trained in mask]


def anchor(shared):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(shared / "base", dtype=torch.float32)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    return model


def local_gradient(shared, rows, training, llds_coef=0.0, adapters=None):
    from transformers import AutoModelForCausalLM

    whole = adapters is None
    model = AutoModelForCausalLM.from_pretrained(shared / "base", dtype=torch.float32) if whole else adapters.model
    members = torch.tensor([row.meta_episode for row in rows])
    mask = pad([row.loss_mask for row in rows], torch.bool)
    weights = token_weights(mask, members, training.loss_aggregation, training.loss_scale_factor)
    weights = [weights[number, : len(row.token_ids)] for number, row in enumerate(rows)]
    reference = (anchor(shared) if whole else reference_of(adapters)) if training.kl_coef else None
    loss, sums = policy_loss(model, rows, weights, training, reference, llds_coef)
    assert 0 < sums["clipped"] < sums["trained"]
    assert (0 < sums["displaced"] < sums["trained"]) == (llds_coef > 0)
    loss.backward()
    return {name: value.grad for name, value in model.named_parameters() if value.requires_grad}


@pytest.mark.parametrize("recorded", METHODS[:3], indirect=True)
def test_packing_by_tokens_gives_the_gradient_of_single_rows(study, recorded, engine, shared, record_property):
    rows = local_rows(study, recorded)
    longest = max(len(row.token_ids) for row in rows)
    ours = local_gradient(shared, rows, study.training, study.methods[recorded.method].train.llds_coef)
    anchors = [[0.0] * len(row.token_ids) for row in rows]
    theirs = verl_gradient(study, recorded, engine, anchors, shared, packed_tokens=2 * longest)
    assert_equal(ours, theirs, record_property)


@pytest.mark.parametrize("own", [{"fused_kernels": "torch"}, {"chunked_entropy": True}], ids=["fused", "chunked"])
@pytest.mark.parametrize("recorded", METHODS[:1], indirect=True)
def test_a_gradient_without_all_logits_at_once_is_the_same(
    study, recorded, engine, shared, own, monkeypatch, record_property
):
    """With an entropy bonus, since entropies are what both compute in another way."""
    from transformers import Qwen2ForCausalLM

    changes = {**OPTIONS["entropy bonus"], "verl": study.training.verl.model_copy(update=own)}
    training = study.training.model_copy(update=changes)
    rows = local_rows(study, recorded)
    ours = local_gradient(shared, rows, training)
    changed = study.model_copy(update={"training": training})
    fused = "fused_kernels" in own
    monkeypatch.setattr(Qwen2ForCausalLM, "forward", before := Qwen2ForCausalLM.forward)  # verl replaces it
    frugal = make_engine(changed, shared)
    assert (Qwen2ForCausalLM.forward is not before) == fused
    assert frugal.engine_config.entropy_from_logits_with_chunking is not fused
    theirs = verl_gradient(changed, recorded, frugal, [[0.0] * len(row.token_ids) for row in rows], shared, fused=fused)
    assert_equal(ours, theirs, record_property)


def verl_gradient(study, recorded, engine, logprobs, shared, packed_tokens=None, fused=None):
    """The gradient of verl's actor under the recipe of the study; `logprobs` are those of the reference or, where
    weights correct for the server, of the server."""
    from tensordict import TensorDict
    from verl.utils import tensordict_utils as tu
    from verl.utils.config import omega_conf_to_dataclass
    from verl.workers.utils.losses import ppo_loss

    per_episode = study.methods[recorded.method].changes_context
    # The recipe refuses terms that weigh rows alike where there are several.
    named = "mr_search" if per_episode else recorded.method
    whole_config = recipe.compose(recipe.settings(training_run(study, "tiny", named, 0, shared, shared)))
    config = omega_conf_to_dataclass(whole_config.actor_rollout_ref.actor)
    training = study.training
    made, rows, masks = verl_rows(study, recorded)
    values = verl_advantages(study, recorded, rows, masks)
    values = values * advantage.row_scale(rows, 3, per_episode, training.loss_aggregation)[:, None]
    others = [row[len(output.prompt_ids) :] for row, output in zip(logprobs, made, strict=True)]

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
    if config.use_kl_loss:
        data["ref_log_prob"] = nested(others, torch.float32)
    if training.verl.rollout_is is not None:
        padded = {"response_mask": masks, "rollout_log_probs": pad(others, torch.float32)}
        padded["old_log_probs"] = pad([output.response_logprobs for output in made], torch.float32)
        correction = whole_config.algorithm.rollout_correction
        weights, _ = rollout_weights(TensorDict(padded, batch_size=len(made)), correction)
        lengths = [len(output.response_ids) for output in made]
        data["rollout_is_weights"] = nested(
            [row[:length].tolist() for row, length in zip(weights, lengths, strict=True)], torch.float32
        )
    # A mini-batch of verl has as many rows as meta-episodes are expected, times their rows; some may not exist.
    size = len(recorded.metas) * (3 if per_episode else 1)
    tu.assign_non_tensor(data, temperature=1.0, global_batch_size=size, micro_batch_size_per_gpu=1)
    tu.assign_non_tensor(
        data, use_dynamic_bsz=False, use_remove_padding=False, calculate_entropy=config.entropy_coeff > 0
    )
    if fused is not None:
        tu.assign_non_tensor(data, use_remove_padding=True, use_fused_kernels=fused)
    if packed_tokens is not None:
        tu.assign_non_tensor(data, use_dynamic_bsz=True, max_token_len_per_gpu=packed_tokens)
    with engine.train_mode():
        engine.optimizer_zero_grad()
        engine.forward_backward_batch(data, partial(ppo_loss, config=config))
        gradients = {
            name.removeprefix(WRAPPER): value.grad.full_tensor().clone()
            for name, value in engine.module.named_parameters()
            if value.requires_grad
        }
        engine.optimizer_zero_grad()
    return gradients
