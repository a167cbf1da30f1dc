"""The house: imports run downward only, and what a login node loads stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "mrsearch"
FLOORS = {
    "files": -1,
    "config": 0,
    "agent": 1,
    "data": 1,
    "cluster": 1,
    "tracking": 1,
    "runlog": 1,
    "retrieval": 2,
    "policy": 2,
    "learning": 2,
    "training": 3,
    "evaluation": 3,
    "preflight": 3,
    "reporting": 4,
    "cli": 5,
}
HEAVY = {"torch", "transformers", "faiss", "pandas", "matplotlib", "sentence_transformers", "wandb", "fastapi"}


def room(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path):
    """Modules of mrsearch that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("mrsearch"):
            names = [node.module] if node.module != "mrsearch" else [f"mrsearch.{alias.name}" for alias in node.names]
            yield from (name.split(".") for name in names)
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names if alias.name.startswith("mrsearch."))


FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def test_every_room_has_a_floor():
    assert {room(path) for path in FILES} == set(FLOORS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_run_downward(path):
    here = room(path)
    for _, there, *_ in imports(path):
        assert there == here or FLOORS[there] < FLOORS[here], f"{here} may not know {there}"


def test_learning_knows_tensors_alone():
    for path in (SOURCE / "learning").glob("*.py"):
        assert {there for _, there, *_ in imports(path)} <= {"learning"}


@pytest.mark.parametrize("module", ["mrsearch.config", "mrsearch.cli"])
def test_configuration_and_command_line_load_nothing_heavy(module):
    code = f"import sys, {module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not HEAVY & set(loaded)
