"""The study demo-verl through Snakemake: warm start, adapters trained with verl on two processes, SIGKILL, resume,
merge and export, evaluation. Trainings of all weights go on after a stop in test_endings.py."""

import json
import os
import signal
import subprocess
import time
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest
import torch
import torch.distributed.tensor  # so that shards can be read
from support.project import ROOT

from mrsearch.agent.record_files import read_records

PATIENCE = 600
ADAPTED = {
    "warm_start.steps": 50,
    "training.lora": {"rank": 4, "alpha": 8},
    "training.learning_rate": 1e-3,
    "training.kl_coef": 0.01,
    "training.filter_groups": {"max_num_gen_batches": 2},
}
"""The reference of the KL term is the policy without its adapters."""


class Dag:
    """One run's folder, and Snakemake as a user starts it."""

    def __init__(self, folder):
        self.folder = folder
        self.results = folder / "results" / "demo-verl"

    def start(self, name):
        paths = {"results": str(self.folder / "results"), "resources": str(self.folder / "resources")}
        paths["train_environment"] = str(ROOT / ".venv-train")
        command = [str(ROOT / ".venv/bin/snakemake"), "--profile", "profile/local", "--nolock", *self.targets()]
        command += ["--config", "study=demo-verl", f"paths={json.dumps(paths)}", f"overrides={json.dumps(ADAPTED)}"]
        self.log = self.folder / name
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("VERL_", "PYTEST", "RAY_"))}
        with self.log.open("w") as log:
            return subprocess.Popen(command, cwd=ROOT, env=kept, stdout=log, stderr=log, start_new_session=True)

    def targets(self):
        folder = self.results / "eval" / "tiny" / "mr_search" / "seed0"
        return [str(folder / name) for name in ("single_hop.greedy.jsonl.zst", "two_hop.greedy.jsonl.zst", "run.json")]

    def ended(self, process):
        try:
            return process.wait(PATIENCE)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(60)

    @property
    def run(self):
        (found,) = (self.results / "runs" / "tiny" / "mr_search" / "seed0").iterdir()
        return found

    def training(self):
        """The process that trains, below the one that is the job."""
        job = json.loads((self.run / "train.job" / "state.json").read_text())["job_id"]
        (child,) = psutil.Process(int(job.partition("-")[0])).children()
        return child


@pytest.fixture(scope="module")
def dag(tmp_path_factory):
    return Dag(tmp_path_factory.mktemp("dag"))


def until(condition, process):
    deadline = time.monotonic() + PATIENCE
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    return condition()


def test_killed_after_a_checkpoint_it_leaves_nothing_behind_and_ends_well_when_run_again(dag):
    process = dag.start("first.log")
    pattern = "runs/tiny/mr_search/seed0/*/checkpoints/latest_checkpointed_iteration.txt"
    assert until(lambda: any(dag.results.glob(pattern)), process), dag.log.read_text()[-3000:]
    victim = dag.training()
    family = victim.children(recursive=True)
    (note,) = dag.run.glob("ray-scratch-*.json")
    scratch = Path(json.loads(note.read_text())["folder"])
    assert any(scratch.iterdir())
    assert any("raylet" in each.name() for each in family)
    victim.send_signal(signal.SIGKILL)
    assert dag.ended(process) != 0
    _, alive = psutil.wait_procs(family, timeout=20)
    assert alive == []
    assert not (dag.results / "models" / "tiny" / "mr_search" / "seed0" / "model").exists()

    again = dag.start("second.log")
    assert dag.ended(again) == 0, dag.log.read_text()[-3000:]
    log = (dag.run / "train.log").read_text()
    assert "continuing after step 2" in log
    assert not scratch.exists() and list(dag.run.glob("ray-scratch-*")) == []
    trained = dag.results / "models" / "tiny" / "mr_search" / "seed0"
    rows = [json.loads(line) for line in (trained / "train.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4]
    assert {"reward", "missing", "entropy", "gradient_norm", "logprob_difference", "alarms"} <= rows[-1].keys()
    assert all(row["missing"] == 0 and row["logprob_difference"] < 1e-6 for row in rows)
    assert any(row["gradient_norm"] > 0 for row in rows)
    assert {row["generated_groups"] for row in rows} <= {8, 16}
    sums = [sum(row["length"] * row["generated_groups"] * 4 for row in rows[: n + 1]) for n in range(5)]
    assert [row["total_tokens"] for row in rows] == pytest.approx(sums), "what is not trained on is counted"
    groups = [asdict(record)["tags"] for record in read_records(trained / "groups.jsonl.zst")]
    assert [tags["step"] for tags in groups] == [step for step in (0, 1, 2, 4) for _ in range(2 * 4)]
    for tags in groups:
        returns = [sum(rewards) for rewards in tags["rewards"]]
        own = returns[tags["member"]]
        by_hand = own - (sum(returns) - own) / 3
        assert tags["advantages"][tags["member"]][0] == pytest.approx(by_hand, abs=1e-5)


def test_the_checkpoints_are_of_two_ranks_and_the_newest_and_the_best_are_kept(dag):
    steps = sorted(int(folder.name.rpartition("_")[2]) for folder in (dag.run / "checkpoints").glob("global_step_*"))
    best = json.loads((dag.run / "best.json").read_text())["step"]
    assert steps == sorted({4, 5, best})
    files = sorted((dag.run / "checkpoints" / "global_step_5" / "actor").glob("model_*.pt"))
    assert [file.name for file in files] == [f"model_world_size_2_rank_{rank}.pt" for rank in (0, 1)]
    for file in files:
        adapters = torch.load(file, weights_only=True)
        assert len(adapters) == 2 * 2 * 7, "two for each of seven layers in two blocks"
        assert all(".lora_" in name for name in adapters)


def test_the_exported_policy_is_the_trained_one_and_was_evaluated(dag):
    from safetensors.torch import load_file

    (line,) = [line for line in (dag.run / "train.log").read_text().splitlines() if "differ by" in line]
    assert float(line.partition("differ by ")[2].split()[0]) < 1e-5
    models = dag.results / "models" / "tiny"
    start = load_file(models / "warm_start" / "seed0" / "model" / "model.safetensors")
    end = load_file(models / "mr_search" / "seed0" / "model" / "model.safetensors")
    assert start.keys() == end.keys()
    changed = {name for name in start if (start[name] != end[name]).any()}
    assert changed == {name for name in start if name.endswith("_proj.weight")}
    records = list(read_records(Path(dag.targets()[0])))
    assert len(records) == 8
    assert all(record.episodes for record in records)
