"""No process of a training imports, by our doing, what it does not use."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

NEW = """
import importlib, json, sys
before, ours = sys.argv[1].split(","), sys.argv[2]
for name in before:
    importlib.import_module(name)
there = set(sys.modules)
importlib.import_module(ours)
print(json.dumps(sorted(name for name in sys.modules if name not in there)))
"""
CLIENT = {"aiohttp", "aiohappyeyeballs", "aiosignal", "attr", "attrs", "frozenlist", "multidict", "propcache", "yarl"}
STUDY = {"pydantic"}
"""Both processes read the study."""
AGENT = "verl.experimental.agent_loop.agent_loop", "verl.trainer.main_ppo"
TRAINER = "verl.trainer.main_ppo", "verl.trainer.ppo.v1.trainer_sync"


def new(before, ours):
    """Modules that `ours` brings into a process of verl's."""
    command = [sys.executable, "-c", NEW, ",".join(before), ours]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def foreign(modules):
    """Their packages, without ours, Python's own and compiled helpers."""
    packages = {name.split(".")[0] for name in modules} - set(sys.stdlib_module_names) - {"mrsearch"}
    return {name for name in packages if not name.startswith("_")}


@pytest.mark.parametrize(
    ("before", "ours", "allowed"),
    [
        (AGENT, "mrsearch.training.verl.rl.agent_loop", CLIENT | STUDY | {"tenacity"}),
        (TRAINER, "mrsearch.training.verl.rl.trainer", STUDY),
    ],
)
def test_our_modules_bring_nothing_heavy_into_verls_processes(before, ours, allowed):
    modules = new(before, ours)
    assert foreign(modules) <= allowed
    assert not [name for name in modules if name.startswith(("mrsearch.retrieval.indexes", "mrsearch.evaluation"))]


def test_the_job_starts_ray_before_it_imports_torch():
    modules = new(["sys"], "mrsearch.training.verl.rl.train")
    assert not {"torch", "ray", "verl", "transformers", "pyarrow", "numpy"} & foreign(modules)
