"""`mrsearch rehearse`: every link holds on a CPU."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from support.small_world import TINY

pytestmark = pytest.mark.integration
SMALL = {
    "training.group_size": 2,
    "training.learning_rate": 1e-4,
    "models.tiny": TINY,
    "retrieval.service.mode": "http",
}


def rehearse(root, out, **overrides):
    run = json.dumps({"study": "demo", "overrides": SMALL | overrides})
    command = [sys.executable, "-m", "mrsearch.cli", "rehearse", "--run", run, "--batch=4", f"--out={out}"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=600)


def test_every_link_holds_and_says_what_it_measured(root, tmp_path):
    done = rehearse(root, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    marks = re.findall(r"^(pass|FAIL)  ([\w -]+) \(", done.stdout, re.MULTILINE)
    assert [name for _, name in marks] == [
        "environment",
        "data and model",
        "index",
        "retriever",
        "meta-episodes",
        "training and checkpoint",
        "resume and export",
        "evaluation",
        "report",
    ]
    assert {mark for mark, _ in marks} == {"pass"}
    assert re.search(
        r"A training of 400 steps of 32 questions: [\d.]+ (minutes|hours); this study has 4\.", done.stdout
    )
    result = json.loads((tmp_path / "demo-rehearsal.json").read_text())
    assert result["held"]
    rates = ("searches_per_second", "untrained_tokens_per_second", "training_tokens_per_second", "step_seconds")
    assert all(result["measured"][name] > 0 for name in rates)
    assert (tmp_path / "demo-rehearsal" / "tables" / "main.csv").is_file()
    assert not (tmp_path / "demo-rehearsal" / "service" / "dense.json").exists()
