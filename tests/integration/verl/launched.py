"""A training with verl in a process of its own, as the tests start and watch it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[3]
PATIENCE = 300
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
train_with_verl(study, "tiny", sys.argv[5], 0, inputs, out / "model", out / "run")
"""


class Training:
    """A training in a process of its own; `plan` says what goes wrong in it at which step."""

    def __init__(self, overrides, shared, out, method="mr_search"):
        self.overrides, self.shared, self.out, self.method = overrides, shared, out, method

    def start(self, plan=None, log="log", **environment):
        self.out.mkdir(exist_ok=True)
        self.log = self.out / log
        environment = {**os.environ, "MRSEARCH_TEST_FAILURES": json.dumps(plan or {}), **environment}
        environment["PYTHONPATH"] = str(Path(__file__).parent)
        places = [str(ROOT), str(self.shared), str(self.out), self.method]
        command = [sys.executable, "-c", SCRIPT, json.dumps(self.overrides), *places]
        with self.log.open("w") as output:
            return subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)

    def fails(self, plan, message):
        process = self.start(plan)
        assert self.ended(process) != 0, "the training did not notice"
        assert message in self.log.read_text(), self.tail()
        assert not (self.out / "model").exists()

    def ended(self, process):
        try:
            return process.wait(PATIENCE)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def wait_for(self, condition, process):
        deadline = time.monotonic() + PATIENCE
        while not condition() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        assert condition(), self.tail()

    def rows(self):
        path = self.out / "run" / "train.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def tail(self):
        return self.log.read_text()[-3000:]
