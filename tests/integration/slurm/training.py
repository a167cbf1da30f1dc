"""One small training, run as a user would, and its undisturbed result."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

from mrsearch.config.source import read_yaml

from .cluster import SHARED, TestCluster

HERE = Path(__file__).parent
STUDY, SITE = HERE / "study.yaml", HERE / "site.yaml"
OVERRIDES = {
    "retrieval.service.mode": "in_process",
    "warm_start": {
        "steps": 120,
        "train_batch_size": 16,
        "warmup_steps": 5,
        "demonstrations": 64,
        "checkpoint_every": 10,
    },
}
SECONDS = 240.0


def wait_until(condition: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
    """Return once the condition holds; fails the test otherwise."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


def site_with(place: Path, **keys: object) -> Path:
    """The site of the tests with other values, as a file in `place`."""
    place.mkdir(parents=True, exist_ok=True)
    path = place / "site.yaml"
    path.write_text(yaml.safe_dump(read_yaml(SITE) | keys))
    return path


@dataclass
class Inputs:
    """What every training of the tests starts from."""

    folder: Path

    def training(self, out: Path, *options: str, **keys: object) -> Training:
        """A training that writes below `out`, on the test site with other values for these keys."""
        return Training(self, out, ["--scheduler", "slurm", "--site", str(site_with(out, **keys)), *options])

    def undisturbed(self, out: Path) -> Training:
        """The same training on this machine."""
        return Training(self, out, ["--scheduler", "local"])


@dataclass
class Training:
    """A training and its launchers."""

    inputs: Inputs
    out: Path
    options: list[str]

    @property
    def run_dir(self) -> Path:
        return self.out / "run"

    @property
    def command(self) -> list[str]:
        given = self.inputs.folder
        paths = {"start": given / "base", "questions": given / "train.parquet", "corpus": given / "corpus"}
        paths |= {"indexes": given / "indexes", "out": self.out / "model", "log": self.out / "train.jsonl"}
        paths |= {"run": self.out / "run.json", "run-dir": self.run_dir, "study": given / "study.json"}
        named = [f"--{name}={path}" for name, path in paths.items()]
        names = ["--model=tiny", "--method=warm_start", "--seed=3"]
        return [
            sys.executable,
            "-m",
            "mrsearch.cli",
            "train",
            *named,
            *names,
            f"--gpu-environment={sys.prefix}",
            *self.options,
        ]

    def launch(self, **variables: str) -> subprocess.Popen[str]:
        """Start `mrsearch train` in a process group of its own, with these environment variables changed."""
        self.out.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"} | variables
        return subprocess.Popen(
            self.command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def begin(self) -> subprocess.Popen[str]:
        """Launch it, and return once checkpoints were written and it is under way to the next."""
        launcher = self.launch()
        self.reach(15, launcher)
        return launcher

    def finish(self, launcher: subprocess.Popen[str], status: int = 0) -> str:
        """Wait for a launcher; returns what it wrote."""
        output, _ = launcher.communicate(timeout=SECONDS)
        assert launcher.returncode == status, output
        return output

    def reach(self, steps: int, launcher: subprocess.Popen[str]) -> None:
        """Wait until so many steps were logged."""

        def reached() -> bool:
            assert launcher.poll() is None, launcher.communicate()[0]
            return self.logged >= steps

        wait_until(reached, f"{steps} steps in {self.run_dir}")

    @property
    def logged(self) -> int:
        log = self.run_dir / "train.jsonl"
        return log.read_text().count("\n") if log.exists() else 0

    @property
    def job_id(self) -> str:
        return str(json.loads((self.run_dir / "train.job" / "state.json").read_text())["job_id"])

    @property
    def output(self) -> str:
        return (self.run_dir / "train.log").read_text()

    def trainers(self) -> list[psutil.Process]:
        """Processes that train, wherever they run."""
        wanted = f"--run-dir={self.run_dir}"
        found = []
        for process in psutil.process_iter(["cmdline", "status"]):
            words = process.info["cmdline"] or []
            if wanted in words and "--scheduler" not in words and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
        return found

    def suspend(self) -> None:
        """Let the trainer stand still, so that Slurm's clocks run out first."""
        for process in self.trainers():
            process.send_signal(signal.SIGSTOP)

    @property
    def gradients(self) -> list[float]:
        """Norm of every step's gradient."""
        return [json.loads(line)["gradient_norm"] for line in (self.out / "train.jsonl").read_text().splitlines()]

    def result(self) -> tuple[str, list[dict[str, object]]]:
        """Hash of the exported weights, and the training log without its times."""
        weights = hashlib.sha256((self.out / "model" / "model.safetensors").read_bytes()).hexdigest()
        rows = [json.loads(line) for line in (self.out / "train.jsonl").read_text().splitlines()]
        return weights, [{key: value for key, value in row.items() if key != "seconds"} for row in rows]

    def assert_nothing_left(self, cluster: TestCluster, partition: str = SHARED) -> None:
        """No job and no process of this training."""
        assert cluster.jobs(partition=partition) == []
        wait_until(lambda: not self.trainers(), "its trainers are gone", 10)

    def assert_went_on_as(self, undisturbed: Training, cluster: TestCluster, partition: str = SHARED) -> None:
        """It went on from a checkpoint, its weights and its log are those of the undisturbed run, nothing is left."""
        assert "continuing at step" in self.output
        assert self.result() == undisturbed.result()
        self.assert_nothing_left(cluster, partition)
