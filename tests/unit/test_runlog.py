"""The self-describing record of a stage."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mrsearch import runlog
from mrsearch.config import Study, digest


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "deep" / "weights").write_bytes(b"\0" * 100)
    questions = tmp_path / "train.parquet"
    questions.write_bytes(b"rows")
    return {"start": folder, "questions": questions}


def write(path: Path, study: Study, inputs: dict[str, Path], **extra) -> dict:
    runlog.write_run(path, study=study, stage="train", inputs=inputs, seeds=[1, 0], extra=extra)
    return json.loads(path.read_text())


def test_the_record_says_what_ran_on_what(tmp_path, small_study, inputs):
    record = write(tmp_path / "out" / "run.json", small_study, inputs, method="mr_search", seconds=1.5)
    assert Study.model_validate_json(json.dumps(record["config"])) == small_study
    assert record["config_digest"] == digest(small_study)
    assert (record["stage"], record["study"], record["seeds"], record["method"]) == (
        "train",
        "small",
        [0, 1],
        "mr_search",
    )
    assert record["inputs"]["questions"]["sha256"] == hashlib.sha256(b"rows").hexdigest()
    assert record["timing"].keys() == {"finished", "seconds"}
    assert record["packages"]["pydantic"].startswith("2.")
    assert record["hardware"]["cores"] >= record["hardware"]["usable_cores"] >= 1
    assert record["hardware"]["memory_gib"] > 0 and record["hardware"]["processor"]
    root = Path(runlog.__file__).parents[2]
    lock = root / "envs" / "cpu.lock.txt"
    assert record["code"]["locks"]["cpu.lock.txt"] == hashlib.sha256(lock.read_bytes()).hexdigest()
    assert list((tmp_path / "out").iterdir()) == [tmp_path / "out" / "run.json"], "nothing half-written stays"


def test_two_runs_differ_in_their_timing_alone(tmp_path, small_study, inputs):
    one, two = (write(tmp_path / name, small_study, inputs, seconds=n) for n, name in enumerate(("a", "b")))
    assert one.pop("timing") != two.pop("timing")
    assert one == two


def test_folder_hashes_follow_names_and_contents_but_not_run_records(inputs):
    folder = inputs["start"]
    before = runlog.hash_path(folder)
    (folder / "deep" / "run.json").write_text("times")
    assert runlog.hash_path(folder) == before
    (folder / "deep" / "weights").write_bytes(b"\0" * 99 + b"\1")
    changed = runlog.hash_path(folder)
    (folder / "deep" / "weights").rename(folder / "weights")
    assert len({before, changed, runlog.hash_path(folder)}) == 3


def test_missing_inputs_and_taken_keys_leave_nothing_behind(tmp_path, small_study, inputs):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write(tmp_path / "run.json", small_study, {"start": tmp_path / "nowhere"})
    with pytest.raises(ValueError, match="extra key 'config' is taken"):
        write(tmp_path / "run.json", small_study, inputs, config={})
    assert not (tmp_path / "run.json").exists()


def revision_of(package: Path) -> dict | None:
    """What the record says about git where the package lies in this folder."""
    code = "from mrsearch import runlog; import json; print(json.dumps(runlog._git()))"
    environment = {
        "PYTHONPATH": str(package.parent),
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(package.parent),
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_revision_is_that_of_the_checkout_the_code_runs_from(tmp_path):
    package = tmp_path / "src" / "mrsearch"
    shutil.copytree(Path(runlog.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    assert revision_of(package) is None, "outside git"

    def git(*command: str) -> str:
        names = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *names, *command], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("init")
    (tmp_path / ".gitignore").write_text("__pycache__/\n")
    assert revision_of(package) is None, "a repository around it that does not track it"
    git("add", ".")
    git("commit", "-m", "Begin")
    assert revision_of(package) == {"revision": git("rev-parse", "HEAD"), "dirty": False}
    (package / "new.py").write_text("")
    assert revision_of(package) == {"revision": git("rev-parse", "HEAD"), "dirty": True}
