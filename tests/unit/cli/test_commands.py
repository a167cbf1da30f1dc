"""The command's errors are one line, and its sub-commands do what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.commands import COMMANDS, mrsearch

from mrsearch.config import ConfigError, Study


def test_the_commands_of_the_rules_exist() -> None:
    assert {("study",), ("data", "questions"), ("index", "build"), ("retriever", "start"), ("train",)} <= set(COMMANDS)


def test_a_users_mistake_is_one_line_and_exit_code_2(root: Path) -> None:
    done = mrsearch("study", "nope", cwd=root)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("mrsearch: config: study ('nope') is neither")
    assert done.stderr.count("\n") == 1


def test_debugging_shows_where_a_mistake_arose(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MRSEARCH_DEBUG", "1")
    with pytest.raises(ConfigError, match="study \\('nope'\\) is neither"):
        mrsearch("study", "nope", cwd=root)


def test_study_prints_every_value(root: Path) -> None:
    done = mrsearch("study", "paper", cwd=root)
    study = Study.model_validate(json.loads(done.stdout))
    assert study.name == "paper"
    assert study.retrieval.client.patience_seconds > 0


def test_study_writes_a_run_with_its_overrides(root: Path, tmp_path: Path) -> None:
    run = json.dumps({"study": "demo", "overrides": {"training.steps": 3}})
    mrsearch("study", "--run", run, "--out", str(tmp_path / "study.json"), cwd=root)
    assert json.loads((tmp_path / "study.json").read_text())["training"]["steps"] == 3


def test_config_generate_check_finds_a_stale_file(root: Path, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "README.md").write_bytes((root / "config" / "README.md").read_bytes())
    assert "is out of date" in mrsearch("config", "generate", "--check", cwd=tmp_path).stderr
    assert mrsearch("config", "generate", cwd=tmp_path).returncode == 0
    assert mrsearch("config", "generate", "--check", cwd=tmp_path).returncode == 0
