"""What goes wrong in a training with verl: each ends as it should, and says so with a count."""

import json
import os
import signal
import time

import pytest
from integration.verl.launched import Training


@pytest.fixture(scope="module")
def changes(overrides):
    own = {**overrides["training.verl"], "max_missing": 0.02, "validation_questions": 0, "keep_best": False}
    changes = {**overrides, "training.verl": own, "training.checkpoint_every": 1, "training.steps": 3}
    return changes | {"retrieval.client": {"timeout_seconds": 5}}


@pytest.fixture(scope="module")
def training(changes, shared, tmp_path_factory):
    """Steps of a hundred meta-episodes, of which two may be missing."""
    own = {**changes["training.verl"], "micro_batch_size_per_gpu": 10}
    sizes = {"training.train_batch_size": 20, "training.mini_batch_size": 10, "training.group_size": 5}
    return Training({**changes, **sizes, "training.verl": own}, shared, tmp_path_factory.mktemp("many") / "out")


@pytest.fixture
def small(changes, shared, retriever, tmp_path):
    """Steps of twelve meta-episodes."""
    return Training(changes, shared, tmp_path / "out")


def away_for(token, seconds):
    """The retrieval server's process stops for a while, as on a node that hangs."""
    pid = int(json.loads(token.with_name(token.name + ".live").read_text())["boot"].partition("-")[0])
    os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(pid, signal.SIGCONT)


def test_few_failures_and_a_retriever_that_is_away_are_counted_and_many_failures_are_fatal(training, retriever):
    searching = training.out / "searching"
    process = training.start({"1": {"fail": 1}, "2": {"search": str(searching)}, "3": {"fail": 40}})
    training.wait_for(searching.exists, process)
    away_for(retriever, 30)
    assert training.ended(process) != 0
    assert "40 of 100 meta-episodes of step 3 are missing, more than training.verl.max_missing (0.02)" in (
        training.log.read_text()
    ), training.tail()
    first, second = training.rows()
    assert (first["missing"], second["missing"]) == (1, 0)
    assert second["seconds"] > 25
    assert second["search_failures"] == 0
    assert second["search_retries"] > 0
    assert not (training.out / "model").exists()


def test_a_killed_rollout_server_fails_every_meta_episode_and_ends_the_training(small):
    small.fails({"3": "kill"}, "no materializable trajectories")
    assert len(small.rows()) == 2


def test_an_alarm_ends_the_training_until_its_rule_is_another_and_a_gradient_that_is_not_finite_ends_it(small):
    alarm = "low_thinking_characters for 2 steps: thinking_characters (0) is below 1"
    rule = {"training.reasoning": {"action": "stop", "patience": 2, "min_thinking_characters": 1}}
    own = small.overrides | {"training.checkpoint_every": 50}
    small.overrides = own | rule
    small.fails({}, f"Unhealthy: {alarm}. Look at the training log, then change the method or training.reasoning")
    rows = small.rows()
    assert [row["step"] for row in rows] == [0, 1]
    assert all("low_thinking_characters" in row["alarms"] for row in rows)
    small.fails({}, f"the training does not go on after step 2: {alarm}")
    assert "start: Ray" not in small.log.read_text() and small.rows() == rows
    small.overrides = own
    small.fails({"3": "huge"}, "the gradient norm is inf at step 3: lower training.learning_rate")
    assert "continuing after step 2" in small.log.read_text() and small.rows() == rows
