"""An evaluation that is killed, and one whose generation server is too slow."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.evaluations import contents, evaluated_study, make_inputs, run_evaluation
from support.project import ROOT

from mrsearch.agent.record_files import read_records
from mrsearch.agent.records import StopReason
from mrsearch.config import Study

pytestmark = pytest.mark.integration
QUESTIONS = 5


@pytest.fixture(scope="module")
def study() -> Study:
    return evaluated_study(QUESTIONS)


@pytest.fixture(scope="module")
def inputs(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_inputs(study, tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def finished(study: Study, inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_evaluation(study, inputs, tmp_path_factory.mktemp("finished"))


def test_killed_at_any_time_it_goes_on_and_ends_the_same(study: Study, inputs: Path, finished: Path, tmp_path: Path):
    """SIGKILL between the first and the last file, several times; the finished files are kept."""
    (tmp_path / "study.json").write_text(study.model_dump_json())
    program = (
        "import sys; from pathlib import Path; from mrsearch.config import read_study;"
        "from mrsearch.evaluation.folders import EvaluationInputs, MethodFolders;"
        "from mrsearch.evaluation.run import evaluate_methods; study, root, out = map(Path, sys.argv[1:]);"
        "inputs = EvaluationInputs(*(root / name for name in ('model', 'data', 'corpus', 'index')));"
        "folders = {'sequential': MethodFolders(out / 'eval', out / 'cache')};"
        "evaluate_methods(read_study(study), 'tiny', folders, 0, inputs)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "study.json"), str(inputs), str(tmp_path)]
    kept: dict[str, int] = {}
    for wanted in (1, 3):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while len(inodes(tmp_path / "cache")) < wanted and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
        now = inodes(tmp_path / "cache")
        assert kept.items() <= now.items(), "a finished file was made again"
        kept = now
    assert contents(run_evaluation(study, inputs, tmp_path)) == contents(finished)
    assert kept.items() <= inodes(tmp_path / "eval").items()


def inodes(folder: Path) -> dict[str, int]:
    """Which file on disk bears a name: equal numbers are one and the same file."""
    found = {}
    for place, _, names in os.walk(folder):  # which minds no folder that goes away meanwhile
        for name in names:
            if name.endswith(".jsonl.zst") and not place.endswith(".kept"):
                with contextlib.suppress(FileNotFoundError):
                    found[name] = Path(place, name).stat().st_ino
    return found


def test_questions_that_run_out_of_time_are_counted_and_abort(study: Study, inputs: Path, tmp_path: Path):
    """A generation server that is too slow for every question."""
    server = ROOT / "tests" / "support" / "http_engine.py"
    command = [sys.executable, str(server), "--model", "{model}", "--port", "{port}"]
    raw = study.model_dump()
    raw["evaluation"]["generator"] = {"kind": "vllm", "command": command, "deadline_seconds": 0.001}
    with pytest.raises(ValueError, match=r"single_hop, greedy: 5 of 5 questions ran out of time, more than .*\(0.01\)"):
        run_evaluation(Study.model_validate(raw), inputs, tmp_path / "strict")
    assert not (tmp_path / "strict" / "eval").exists()
    raw["evaluation"]["generator"]["max_deadline_rate"] = 1.0
    out = run_evaluation(Study.model_validate(raw), inputs, tmp_path)
    assert {record.stop for record in read_records(out / "two_hop.sampled.jsonl.zst")} == {StopReason.deadline}
    assert json.loads((out / "run.json").read_text())["parts"]["two_hop.sampled"]["deadlines"] == QUESTIONS
