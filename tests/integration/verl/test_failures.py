"""What goes wrong in a training with verl: each ends as it should, and says so with a count."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = """
import json, logging, sys
from pathlib import Path
logging.basicConfig(level=logging.INFO, stream=sys.stderr)
from mrsearch.config import Run, load_study
from mrsearch.training.inputs import Inputs
from mrsearch.training.verl import prepare
from mrsearch.training.verl.train import train_with_verl
prepare.AGENT_LOOP = "failing_loop.FailingLoop"
study = load_study(Run(study="demo", overrides=json.loads(sys.argv[1])), Path(sys.argv[2]))
shared, out = Path(sys.argv[3]), Path(sys.argv[4])
inputs = Inputs(shared / "base", shared / "train.parquet", shared / "corpus", shared / "index",
                shared / "service" / "dense.json")
train_with_verl(study, "tiny", "mr_search", 0, inputs, out / "model", out / "run")
"""


class Training:
    """A training in a process of its own, in which things go wrong as planned."""

    def __init__(self, overrides, shared, out):
        self.overrides, self.shared, self.out = overrides, shared, out

    def start(self, plan):
        self.out.mkdir(exist_ok=True)
        self.log = self.out / "log"
        environment = {**os.environ, "MRSEARCH_TEST_FAILURES": json.dumps(plan)}
        environment["PYTHONPATH"] = str(Path(__file__).parent)
        command = [sys.executable, "-c", SCRIPT, json.dumps(self.overrides), str(ROOT), str(self.shared), str(self.out)]
        with self.log.open("w") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)

    def fails(self, plan, message):
        process = self.start(plan)
        assert self.ended(process) != 0, "the training did not notice"
        assert message in self.log.read_text(), self.tail()
        assert not (self.out / "model").exists()

    def ended(self, process):
        try:
            return process.wait(300)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def rows(self):
        return [json.loads(line) for line in (self.out / "run" / "train.jsonl").read_text().splitlines()]

    def tail(self):
        return self.log.read_text()[-3000:]


@pytest.fixture(scope="module")
def training(overrides, shared, retriever, tmp_path_factory):
    own = {**overrides["training.verl"], "max_missing": 0.1, "validation_questions": 0, "keep_best": False}
    changes = {**overrides, "training.verl": own, "training.checkpoint_every": 1, "training.steps": 3}
    changes["retrieval.client"] = {"timeout_seconds": 5}
    return Training(changes, shared, tmp_path_factory.mktemp("failures") / "out")


def away_for(token, seconds):
    """The retrieval server's process stops for a while, as on a node that hangs."""
    pid = int(json.loads(token.with_name(token.name + ".live").read_text())["boot"].partition("-")[0])
    os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(pid, signal.SIGCONT)


def test_few_failures_and_a_retriever_that_is_away_are_counted_and_many_failures_are_fatal(training, retriever):
    searching = training.out / "searching"
    process = training.start({"1": {"fail": 1}, "2": {"search": str(searching)}, "3": {"fail": 5}})
    deadline = time.monotonic() + 240
    while not searching.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    away_for(retriever, 30)
    assert training.ended(process) != 0
    assert "5 of 12 meta-episodes of step 3 are missing, more than training.verl.max_missing (0.1)" in (
        training.log.read_text()
    ), training.tail()
    first, second = training.rows()
    assert (first["missing"], second["missing"]) == (1, 0)
    assert second["seconds"] > 25
    assert second["search_failures"] == 0
    assert second["search_retries"] > 0
    assert not (training.out / "model").exists()


def test_when_every_meta_episode_fails_the_training_ends(training):
    training.fails({"3": {"fail": 12}}, "no materializable trajectories")
    assert len(training.rows()) == 2


def test_a_killed_rollout_server_ends_the_training(training):
    training.fails({"3": "kill"}, "no materializable trajectories")


def test_a_gradient_that_is_not_finite_ends_the_training(training):
    training.fails({"3": "nan"}, "the gradient norm is nan at step 3: lower training.learning_rate")
