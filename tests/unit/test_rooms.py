"""The house: imports run downward only, and what a login node loads stays light."""

import ast

import pytest
from support.project import ROOT

SOURCE = ROOT / "src" / "mrsearch"
FLOORS = {
    "csv_cells": -2,
    "draws": -2,
    "durable": -2,
    "folder_rights": -2,
    "unique_ids": -2,
    "visible": -2,
    "files": -1,
    "hash_notes": 0,
    "seal": 0,
    "progress": -1,
    "retries": -1,
    "exchange": 0,
    "extensions": -1,
    "config": 0,
    "learning": 0,
    "agent": 10,
    "agent.recordings": 11,
    "data": 10,
    "cluster": 10,
    "tracking": 10,
    "runlog": 10,
    "retrieval.indexes": 20,
    "retrieval.service": 21,
    "retrieval": 22,
    "policy": 20,
    "training": 30,
    "training.rl": 31,
    "training.sft": 31,
    "training.verl": 32,
    "training.verl.cpu": 33,
    "training.verl.rl": 33,
    "training.verl.sft": 33,
    "training.launch": 35,
    "evaluation": 30,
    "planning": 30,
    "preflight": 31,
    "reporting": 40,
    "reporting.tables": 41,
    "reporting.figures": 42,
    "reporting.viewer": 42,
    "reporting.bundle": 43,
    "reporting.compare": 43,
    "rehearsal": 44,
    "interactive": 45,
    "cli": 50,
}
"""Rooms, and rooms within rooms, ground floor first; a module belongs to the longest name that it begins with."""


def room(module):
    """The room of a module without its leading "mrsearch."."""
    parts = module.split(".")
    return next((name for size in range(len(parts), 0, -1) if (name := ".".join(parts[:size])) in FLOORS), None)


def module_of(path):
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


def imports(path):
    """Modules of mrsearch that a file imports, wherever in it, without their leading "mrsearch."."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "mrsearch":
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                target = SOURCE.parent / whole.replace(".", "/")
                named = target.is_dir() or target.with_suffix(".py").is_file()
                yield (whole if named else node.module).removeprefix("mrsearch").removeprefix(".")
        elif isinstance(node, ast.Import):
            yield from (
                alias.name.removeprefix("mrsearch.") for alias in node.names if alias.name.startswith("mrsearch.")
            )


FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def test_every_room_has_a_floor():
    assert not [module_of(path) for path in FILES if room(module_of(path)) is None]
    assert not [name for name in FLOORS if not any(f"{module_of(path)}.".startswith(f"{name}.") for path in FILES)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_run_downward(path):
    here = room(module_of(path))
    for module in imports(path):
        there = room(module)
        assert there == here or FLOORS[there] < FLOORS[here], f"{here} may not know {module}"


def test_learning_knows_tensors_alone():
    for path in (SOURCE / "learning").glob("*.py"):
        assert {room(module) for module in imports(path)} <= {"learning"}
