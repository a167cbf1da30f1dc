"""The stages of `benchmarks/gpu.py` stand alone, print one line each, and end at their time limit."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest
from support.project import ROOT

pytestmark = pytest.mark.integration


def lines(out, *arguments):
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), *arguments, "--out", str(out)]
    done = subprocess.run(command, cwd=out, capture_output=True, text=True, timeout=600)
    return [json.loads(line) for line in done.stdout.splitlines()], done


def test_each_stage_prints_its_line(tmp_path):
    (speed, equal), done = lines(tmp_path, "throughput", "equality", "--seconds", "500")
    assert done.returncode == 0, done.stderr[-2000:]
    assert speed["held"] and speed["device"] == "no GPU"
    assert speed["torch"]["tokens_per_s"] > 0 and speed["torch"]["tokens"] <= 16 * speed["max_tokens"]
    if importlib.util.find_spec("vllm") is None:
        assert equal["held"] is None and equal["reason"].startswith("needs a GPU")


def test_a_stage_ends_at_its_time_limit_and_says_how_far_it_came(tmp_path):
    (line,), done = lines(tmp_path, "evaluate", "--seconds", "5")
    assert done.returncode == 1
    assert line["stage"] == "evaluate" and line["held"] is False
    assert "time" in line["reason"] or "no line" in line["reason"]


def test_an_unknown_stage_is_refused(tmp_path):
    printed, done = lines(tmp_path, "training")
    assert not printed and "'training' is no stage: known are verl, evaluate" in done.stderr
