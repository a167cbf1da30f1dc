"""A training with verl in a process of its own, as the tests start and watch it."""

import json
import os
import signal
import time

from support.train_process import start_training

PATIENCE = 600
AGENT_LOOP = "integration.verl.failing_loop.FailingLoop"


class Training:
    """A training in a process of its own; `plan` says what goes wrong in it at which step."""

    def __init__(self, overrides, shared, out, method="mr_search"):
        self.overrides, self.shared, self.out, self.method = overrides, shared, out, method

    def start(self, plan=None, log="log", **environment):
        self.out.mkdir(exist_ok=True)
        self.log = self.out / log
        variables = {"MRSEARCH_TEST_FAILURES": json.dumps(plan or {}), **environment}
        options = {"seed": 0, "agent_loop": AGENT_LOOP, "variables": variables}
        files = {"folder": self.out / "run", "endpoint": self.shared / "service" / "dense.json"}
        with self.log.open("w") as output:
            return start_training(
                self.overrides, self.shared, self.out, self.method, **options, files=files, stdout=output, stderr=output
            )

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
