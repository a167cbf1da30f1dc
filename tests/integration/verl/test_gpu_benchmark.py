"""The first stage of `benchmarks/gpu.py`, with a CPU in the card's place."""

import json
import subprocess

from integration.verl.conftest import MAIN, ROOT


def test_three_steps_with_a_checkpoint_a_resume_and_an_export(tmp_path):
    command = [str(MAIN), str(ROOT / "benchmarks" / "gpu.py"), "verl", "--seconds", "1200", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    line = json.loads(done.stdout.splitlines()[-1])
    assert line["held"], line
    assert list(line["links"]) == ["data", "index", "retriever", "training", "resume"]
    assert {"Ray", "workers", "the generation engine", "first step"} <= set(line["start"])
    assert line["step_seconds"] > 0 and line["links"]["resume"].endswith("exported")
