"""The command's help is instant, its errors are one line, and its sub-commands do what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
import typer

from mrsearch.cli import app
from mrsearch.config import Study

HELP_SECONDS = 0.5


def mrsearch(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mrsearch.cli", *arguments]
    return subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=60)


def sub_commands(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    nested = [sub_commands(part, (*path, name)) for name, part in getattr(command, "commands", {}).items()]
    return [path, *(found for group in nested for found in group)]


COMMANDS = sub_commands(typer.main.get_command(app))


def test_the_commands_of_the_rules_exist() -> None:
    assert {("study",), ("data", "questions"), ("index", "build"), ("retriever", "start"), ("train",)} <= set(COMMANDS)


@pytest.fixture(scope="module")
def compiled(root: Path) -> None:
    """The bytecode of the modules that a help text imports: only the first call after an installation makes it."""
    mrsearch("--help", cwd=root)


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_answers_at_once(path: tuple[str, ...], root: Path) -> None:
    command = [sys.executable, "-m", "mrsearch.cli", *path, "--help"]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        text = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert "Usage" in text
    # One process and no waiting: the time on the clock of a machine that does nothing else.
    assert used.ru_utime + used.ru_stime < HELP_SECONDS


def test_help_imports_nothing_heavy(root: Path) -> None:
    heavy = ["torch", "transformers", "numpy", "pandas", "pyarrow", "faiss", "httpx", "fastapi"]
    code = f"import sys, mrsearch.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"


def test_a_users_mistake_is_one_line_and_exit_code_2(root: Path) -> None:
    done = mrsearch("study", "nope", cwd=root)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("mrsearch: config: study ('nope') is neither")
    assert done.stderr.count("\n") == 1


def test_debugging_shows_where_a_mistake_arose(root: Path) -> None:
    done = mrsearch("study", "nope", cwd=root, MRSEARCH_DEBUG="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


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
