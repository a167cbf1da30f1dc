"""The locks of the training environments hold what the code that runs there imports, with hashes and without hosts."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
LOCKS = ["train-cpu", "train-sglang", "train-vllm"]
DISTRIBUTIONS = {
    "yaml": "pyyaml",
    "hydra": "hydra-core",
    "transfer_queue": "transferqueue",
    "pydantic_core": "pydantic-core",
    "omegaconf": "omegaconf",
    "pyarrow": "pyarrow",
}
ELSEWHERE = {"train-cpu": {"torch"}}
"""Locked in a file of their own (envs/torch-cpu.lock.txt)."""
ENTRIES = ["mrsearch.cli", "mrsearch.cluster.task", "mrsearch.training.launch"]


def locked(name):
    text = (ROOT / "envs" / f"{name}.lock.txt").read_text(encoding="utf-8")
    return text, {found.lower() for found in re.findall(r"^([A-Za-z0-9._-]+)==", text, re.MULTILINE)}


def file_of(module):
    path = SOURCE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imported(module):
    """Modules that a file imports: at its top, and in training/verl wherever."""
    tree = ast.parse(file_of(module).read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if ".verl." in module else iter(tree.body)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if file_of(name).exists() else node.module for name in submodules)


def needed():
    """Distributions that a training process imports."""
    verl = (SOURCE / "mrsearch" / "training" / "verl").rglob("*.py")
    waiting = [*ENTRIES, *(".".join(path.relative_to(SOURCE).with_suffix("").parts) for path in verl)]
    seen, found = set(), set()
    while waiting:
        module = waiting.pop().removesuffix(".__init__")
        if module in seen:
            continue
        seen.add(module)
        for name in imported(module):
            if name.startswith("mrsearch"):
                waiting.append(name)
            elif (top := name.split(".")[0]) not in sys.stdlib_module_names:
                found.add(DISTRIBUTIONS.get(top, top).replace("_", "-"))
    return found


def test_the_search_for_imports_finds_them():
    assert {"verl", "ray", "hydra-core", "tensordict", "torch", "httpx", "transferqueue", "typer"} <= needed()


@pytest.mark.parametrize("name", LOCKS)
def test_lock_holds_what_is_imported(name):
    _, packages = locked(name)
    assert needed() - packages - ELSEWHERE.get(name, set()) == set()


@pytest.mark.parametrize("name", LOCKS)
def test_lock_is_hashed_and_names_no_host(name):
    text, packages = locked(name)
    assert text.count("==") == len(packages)
    for block in re.split(r"\n(?=[A-Za-z0-9])", text):
        assert "--hash=sha256:" in block, block[:60]
    assert "://" not in text and "--index" not in text and "--find-links" not in text


@pytest.mark.parametrize(("name", "engine"), [("train-sglang", "sglang"), ("train-vllm", "vllm")])
def test_engine_is_in_its_lock_with_the_verl_that_is_tested(name, engine):
    text, packages = locked(name)
    assert {engine, "flash-attn", "torch"} <= packages
    assert "verl==0.9.1 " in text and "verl==0.9.1 " in locked("train-cpu")[0]
