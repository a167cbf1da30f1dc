"""The tutorial's commands, in the order in which its page shows them, on the files that it ships."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pandas as pd
import pytest
from support.project import ROOT

from .conftest import BIN, Project

pytestmark = pytest.mark.e2e
DATA = ROOT / "docs" / "tutorial"
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
FIRST_HALF = PAGE.partition("## 5. ")[0]
COMMANDS = [
    line.partition("  #")[0].rstrip()
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", FIRST_HALF, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
    if not language and line.startswith(("snakemake", "mrsearch", "cat"))
]


def typed(project: Project, command: str) -> str:
    """Output of a command that a shell in the project's folder was given; the test fails where it fails."""
    environment = {"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(project.folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=project.folder,
        env=environment | {"WANDB_MODE": "disabled"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout[-4000:]}"
    return done.stdout


def test_every_command_of_the_tutorial_in_its_order(project: Project) -> None:
    shutil.copytree(DATA, project.folder / "docs" / "tutorial", dirs_exist_ok=True)
    outputs = {command: typed(project, command) for command in COMMANDS}
    shown = dict(
        zip(("study", "evaluate", "show", "train", "main", "paired", "ask", "inspect"), outputs.values(), strict=True)
    )
    assert '"name": "tutorial"' in shown["study"] and "Untrained reader" in shown["show"]
    results = project.folder / "results" / "tutorial"
    scores = pd.read_parquet(results / "scores.parquet").groupby("method")["em_final"].mean()
    assert scores["untrained"] == 0.0 and scores["reader"] > 0.1
    assert "MR-Search" in shown["main"] and "Reader (MiniLM) against Reader" in shown["paired"]
    # What was evaluated before the second study is not evaluated again.
    assert "Evaluation: untrained" in shown["evaluate"] and "Evaluation: untrained" not in shown["train"]
    assert "Tide Clock is a clock of Varn" in shown["ask"] and re.search(r"^result +\w+", shown["ask"], re.MULTILINE)
    assert re.search(r"^gold +Lotte Marsh", shown["inspect"], re.MULTILINE)
    assert json.loads((results / "models/tiny/mr_search/seed0/train.jsonl").read_text().splitlines()[-1])["step"] == 11


def test_what_ships_is_what_the_page_says() -> None:
    rows = {path.stem: [json.loads(line) for line in path.read_text().splitlines()] for path in DATA.rglob("*.jsonl")}
    assert {name: len(lines) for name, lines in rows.items()} == {
        "corpus": 60,
        "one_hop.dev": 18,
        "two_hop.dev": 12,
        "train": 112,
    }
    texts = " ".join(row["text"] for row in rows.pop("corpus"))
    asked = [row for lines in rows.values() for row in lines]
    assert all(row["golden_answers"][0] in texts for row in asked)
    assert len({row["question"] for row in asked}) == len(asked)
