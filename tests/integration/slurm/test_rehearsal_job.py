"""A rehearsal as a job: its lines come as they are written, and its retriever ends with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from .cluster import TestCluster
from .training import SITE

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(2400),
]
TINY = {"kind": "tiny", "hidden_size": 32, "layers": 1, "heads": 2, "kv_heads": 2, "intermediate_size": 32}
OVERRIDES = {
    "models.tiny": TINY,
    "training.group_size": 2,
    "retrieval.service.mode": "http",
    "resources.train": {"mem_mb": 4000, "runtime": 20, "gpus": 1},
}


def test_every_link_holds_in_a_job_and_nothing_is_left(root: Path, quiet: TestCluster, tmp_path: Path) -> None:
    run = json.dumps({"study": "demo", "overrides": OVERRIDES, "paths": {"gpu_environment": sys.prefix}})
    options = ["--run", run, "--batch=4", f"--out={tmp_path}", "--scheduler=slurm", f"--site={SITE}"]
    command = [sys.executable, "-m", "mrsearch.cli", "rehearse", *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=2300)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "demo-rehearsal.json").read_text())
    names = [link["name"] for link in result["links"]]
    assert result["held"] and names[0] == "environment" and names[-1] == "report"
    assert all(f"pass  {name} (" in done.stdout for name in names)
    assert done.stdout.count("pass  environment (") == 1
    running = [process.info for process in psutil.process_iter(["cmdline", "status"])]
    left = [each for each in running if str(tmp_path) in str(each["cmdline"]) and each["status"] != "zombie"]
    assert left == []
