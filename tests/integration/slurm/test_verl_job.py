"""The study demo-verl on the cluster: verl over two nodes of one job, stopped on notice, requeued and evaluated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.project import ROOT

from .cluster import NODES, TestCluster
from .project import Project, copied, finish
from .training import wait_until

ENVIRONMENT = ROOT / ".venv-train"
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not ENVIRONMENT.is_dir(), reason="needs verl's environment: make train-env"),
    pytest.mark.skipif(" " in str(ENVIRONMENT), reason="Ray cannot start from a folder with a space in its name"),
]
SEED = "tiny/mr_search/seed0"


def test_a_training_over_two_nodes_goes_on_after_a_notice_and_is_evaluated(
    root: Path, quiet: TestCluster, tmp_path: Path
) -> None:
    project = Project(copied(root, tmp_path / "project"), quiet)
    study = project.folder / "results" / "demo-verl"
    overrides = {"resources.train": {"nodes": len(NODES), "runtime": 20}, "training.checkpoint_every": 1}
    overrides["warm_start.steps"] = 50
    paths = {"train_environment": str(ENVIRONMENT)}
    config = ("study=demo-verl", f"paths={json.dumps(paths)}", f"overrides={json.dumps(overrides)}")
    process = project.start(f"results/demo-verl/eval/{SEED}/run.json", config=config)

    def saved() -> bool:
        assert process.poll() is None, process.communicate()[0]
        return any(study.glob(f"runs/{SEED}/*/checkpoints/latest_checkpointed_iteration.txt"))

    wait_until(saved, "a checkpoint", 360)
    (run,) = (study / "runs" / SEED).iterdir()
    job = str(json.loads((run / "train.job" / "state.json").read_text())["job_id"])
    nodes = quiet.call("squeue", "-h", "-j", job, "-o", "%N")
    assert nodes == "gpu[0-1]"
    quiet.call("scancel", "--signal=USR2", job)
    finish(process)
    log = (run / "train.log").read_text()
    assert "continuing after step" in log, log[-3000:]
    rows = [json.loads(line) for line in (study / "models" / SEED / "train.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(5))
    assert "nnodes: 2" in (run / "verl.yaml").read_text()
    assert json.loads((study / "eval" / SEED / "run.json").read_text())["parts"].keys() == {
        "single_hop.greedy",
        "two_hop.greedy",
    }
