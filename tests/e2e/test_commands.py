"""Commands that README and docs show, typed in a project whose study has run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .conftest import BIN, Project, layout_of

pytestmark = pytest.mark.e2e


def typed(project: Project, *command: str, code: int = 0) -> str:
    """Output of a command in the project's folder; the test fails on another exit code."""
    words = [str(BIN / command[0]) if (BIN / command[0]).exists() else command[0], *command[1:]]
    # What `make test` tells the makes below it is nothing that a user's shell holds.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        words,
        cwd=project.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def installed(ran: Project, root: Path) -> Project:
    """The project with an environment and its small study among the studies."""
    if not (ran.folder / ".venv").exists():
        (ran.folder / ".venv").symlink_to(BIN.parent)
    shutil.copy(root / "tests" / "e2e" / "tiny.yaml", ran.folder / "config" / "studies")
    return ran


def test_make_report(installed: Project) -> None:
    """The table in the terminal, and a report that is not made twice."""
    report = layout_of(installed, "results")[1].root / "report.html"
    report.unlink(missing_ok=True)
    shown = typed(installed, "make", "--old-file=.venv/installed", "report", "STUDY=tiny")
    assert "MR-Search" in shown
    made = report.stat().st_mtime_ns
    typed(installed, "make", "--old-file=.venv/installed", "report", "STUDY=tiny")
    assert report.stat().st_mtime_ns == made


def test_make_demo_runs_the_study_and_reports(installed: Project) -> None:
    """The commands behind `make demo`; the other tests run them on the small study."""
    steps = typed(installed, "make", "--old-file=.venv/installed", "--just-print", "demo").splitlines()
    assert steps[0] == ".venv/bin/snakemake --profile profile/local --config study=demo"
    assert any("mrsearch report show --study results/demo/study.json" in step for step in steps)


def test_bundle_and_verify(ran: Project) -> None:
    """Tables and figures of a study that the workflow ran come out the same, byte for byte."""
    archive = typed(ran, "mrsearch", "bundle", "tiny").strip()
    assert archive == "results/tiny/tiny-bundle.tar.gz"
    assert "byte for byte" in typed(ran, "mrsearch", "verify", archive)


def test_report_show(ran: Project) -> None:
    place = ["--study", "results/tiny/study.json", "--metrics", "results/tiny/metrics.parquet"]
    assert "MR-Search" in typed(ran, "mrsearch", "report", "show", *place)


def test_a_study_is_checked_and_printed(ran: Project) -> None:
    assert '"name": "tiny"' in typed(ran, "mrsearch", "study", "tests/e2e/tiny.yaml")
    assert '"name": "real-smoke"' in typed(ran, "mrsearch", "study", "config/studies/real-smoke.yaml")


def test_preflight(ran: Project) -> None:
    assert "can start" in typed(ran, "mrsearch", "preflight", "tests/e2e/tiny.yaml")


def test_the_retriever_is_started_asked_and_stopped(ran: Project) -> None:
    token = "results/tiny/service/dense.json"
    places = [
        "--study",
        "results/tiny/study.json",
        "--corpus",
        "results/tiny/corpus",
        "--indexes",
        "results/tiny/index",
    ]
    try:
        typed(ran, "mrsearch", "retriever", "start", *places, token)
        assert "http://127.0.0.1:" in typed(ran, "mrsearch", "retriever", "status", token)
    finally:
        typed(ran, "mrsearch", "retriever", "stop", token)
    assert not (ran.folder / token).exists()


def test_wandb_sync_names_what_is_missing(ran: Project) -> None:
    assert "holds no study.json: run the study" in typed(ran, "mrsearch", "wandb-sync", "nothing", code=2)


def test_the_lexical_packages_are_what_make_test_installs(root: Path) -> None:
    command = "pip install --no-deps --require-hashes -r envs/lexical.lock.txt"
    assert command in (root / "docs" / "retrieval.md").read_text()
    assert "install --quiet --no-deps --require-hashes -r envs/lexical.lock.txt" in (root / "Makefile").read_text()
