"""Trainings with verl that are asked to stop, go on and end before their last step; several nodes with a critic."""

import json
import signal

import pytest
from integration.verl.launched import Training

from mrsearch.cluster.stopping import ATTEMPT, RANK, STOPPED, WORLD


@pytest.fixture(scope="module")
def changes(overrides):
    own = {**overrides["training.verl"], "validate_every": 1, "export": "best"}
    return {**overrides, "training.verl": own, "training.checkpoint_every": 1, "training.checkpoints_kept": 1}


def test_asked_to_stop_it_stops_after_the_step_and_goes_on_to_the_end_of_its_token_budget(
    changes, shared, retriever, tmp_path
):
    from safetensors.torch import load_file

    from mrsearch.training.verl.export import merged_state

    # A step has about 5,000 tokens here.
    reward = {"base": "f1", "terms": {"searches": -0.1, "no_answer": -0.5}}
    turns = {"turn_credit": {"weight": 0.5}, "mask_abnormal_turns": True}
    shaped = {"methods.mr_search.train": {"algorithm": "reinforce", "llds_coef": 0.1, "reward": reward, **turns}}
    budget = {"training.steps": 50, "training.token_budget": 20_000, **shaped}
    training = Training({**changes, **budget}, shared, tmp_path / "out")
    process = training.start()
    training.wait_for(training.rows, process)
    process.send_signal(signal.SIGUSR2)
    assert training.ended(process) == STOPPED, training.tail()
    run = training.out / "run"
    before = training.rows()
    ended = json.loads((run / "ended.json").read_text())
    assert ended == {"step": len(before), "reason": "stopped"}
    assert before[-1]["total_tokens"] < 20_000
    for row in before:
        terms = zip(row["reward_base"], row["reward_searches"], row["reward_no_answer"], strict=True)
        assert row["reward"] == pytest.approx([base - 0.1 * count - 0.5 * none for base, count, none in terms])
        assert all(score <= base for score, base in zip(row["score"], row["reward_base"], strict=True))
        assert 0 <= row["displaced"] <= 1
        assert row["information_gain"] != 0 and 0 <= row["masked_turns"] < 1
    assert not (training.out / "model").exists()

    terminated = training.start(log="terminated")
    training.wait_for(lambda: "start: Ray" in training.log.read_text(), terminated)
    terminated.send_signal(signal.SIGTERM)
    assert training.ended(terminated) == 128 + signal.SIGTERM
    last = training.log.read_text().splitlines()[-1]
    assert "ended by SIGTERM" in last and f"goes on from its checkpoint of step {len(before)}" in last
    assert training.rows() == before

    assert training.ended(training.start(log="second")) == 0, training.tail()
    assert f"continuing after step {len(before)}" in training.log.read_text()
    rows = training.rows()
    assert [row["step"] for row in rows] == list(range(len(rows)))
    assert rows[: len(before)] == before
    assert rows[-2]["total_tokens"] < 20_000 <= rows[-1]["total_tokens"]
    assert json.loads((run / "ended.json").read_text()) == {"step": len(rows), "reason": "token_budget"}

    best = json.loads((run / "best.json").read_text())["step"]
    trained = load_file(training.out / "model" / "model.safetensors")
    chosen = merged_state(run / "checkpoints" / f"global_step_{best}" / "actor")
    assert all((tensor == chosen[name]).all() for name, tensor in trained.items())
    tracked = {path.name.rpartition("-")[2] for path in run.glob("**/offline-run-*")}
    assert len(tracked) == 1, "both attempts are one W&B run"


def test_a_critic_is_trained_on_two_nodes(changes, shared, retriever, tmp_path):
    own = {**changes["training.verl"], "cpu_ranks": 2, "export": "last", "overrides": {"trainer.balance_batch": False}}
    critic = {"methods.mr_search.train": {"algorithm": "ppo"}, "resources.train": {"nodes": 2}, "training.steps": 2}
    training = Training({**changes, "training.verl": own, **critic}, shared, tmp_path / "out")
    head, worker = (training.start(log=f"node{rank}", **{RANK: str(rank), WORLD: "2", ATTEMPT: "1"}) for rank in (0, 1))
    assert (training.ended(head), training.ended(worker)) == (0, 0), training.tail()
    rows = training.rows()
    assert [row["step"] for row in rows] == [0, 1]
    assert all(row["missing"] == 0 and row["gradient_norm"] > 0 for row in rows)
    losses = [json.loads(line)["data"] for line in (training.out / "run" / "verl.jsonl").read_text().splitlines()]
    assert all(row["critic/vf_loss"] > 0 for row in losses if "critic/vf_loss" in row)
    assert sum("critic/vf_loss" in row for row in losses) == 2
    assert (training.out / "model" / "model.safetensors").is_file()
    assert not any("advantages" in group["tags"] for group in kept(training))
    recorded = json.loads((training.out / "run.json").read_text())["config"]["training"]["verl"]
    assert recorded["overrides"] == {"trainer.balance_batch": False}
    assert "  balance_batch: false" in (training.out / "run" / "verl.yaml").read_text().splitlines()


def test_meta_episodes_of_the_next_step_begin_with_this_one_and_are_all_counted(changes, shared, retriever, tmp_path):
    own = {**changes["training.verl"], "mode": "one_step_off", "rollout_is": "token", "validation_questions": 0}
    own |= {"keep_best": False, "export": "last"}
    steps = {"training.steps": 3, "training.checkpoint_every": 50, "training.verl": own}
    training = Training({**changes, **steps}, shared, tmp_path / "out")
    assert training.ended(training.start()) == 0, training.tail()
    rows = training.rows()
    assert [(row["step"], row["missing"]) for row in rows] == [(0, 0), (1, 0), (2, 0)]
    assert rows[0]["staleness_max"] == 0
    # 1 where the server had answered before the policy was updated.
    assert all(0 <= row["staleness"] <= row["staleness_max"] <= 1 for row in rows)
    sums = [sum(12 * row["length"] for row in rows[: number + 1]) for number in range(3)]
    assert [row["total_tokens"] for row in rows] == pytest.approx(sums)
    assert (training.out / "run" / "checkpoints" / "global_step_3" / "transfer_queue").is_dir(), "what is under way"
    assert (training.out / "model" / "model.safetensors").is_file()


def kept(training):
    from dataclasses import asdict

    from mrsearch.agent.record_files import read_records

    found = [asdict(record) for record in read_records(training.out / "groups.jsonl.zst")]
    assert len(found) == 2 * 2 * 3, "two groups of three at each of two steps"
    return found
