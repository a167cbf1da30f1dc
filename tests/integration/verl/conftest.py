"""Tests with released verl. They run in the environment that `make train-env` makes; `make test` sees to that."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest
from support import small_world
from support.project import ROOT
from support.train_process import TESTS

MAIN = ROOT / ".venv" / "bin" / "python"
"""The project's own environment: it has the index and the retrieval server, the training environment has not."""
INSTALLED = importlib.util.find_spec("verl") is not None
collect_ignore_glob = [] if INSTALLED else ["test_*.py"]
if INSTALLED:  # the tests of the other environment run without all this
    # verl chooses its platform when it is imported.
    os.environ |= {"VERL_USE_EXTERNAL_MODULES": "mrsearch.training.verl.cpu.plugin", "VERL_PLATFORM": "cpu"}
    os.environ |= {"VERL_USE_EXTERNAL_PLUGINS": "none", "GLOO_SOCKET_IFNAME": "lo", "TOKENIZERS_PARALLELISM": "false"}
    os.environ |= {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"}
    # Two tests run at once: workers at Ray's nice 15 would starve beside the other.
    os.environ |= {"RAY_worker_niceness": "0"}
NEED_RAY = ("test_dag", "test_failures", "test_ray_cluster")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ray cannot start its workers from a folder with a space in its name; the rest runs anywhere."""
    if " " in sys.prefix:
        for item in items:
            if item.path.stem in NEED_RAY:
                item.add_marker(pytest.mark.skip(reason=f"Ray cannot start from {sys.prefix}: its path has a space"))


OVERRIDES = small_world.OVERRIDES | {
    "retrieval.service": {"mode": "http", "lease_seconds": 3600},
    "training.backend": "verl",
    "training.steps": 4,
    "protocol.max_turns": 2,
    "protocol.max_turn_tokens": 12,
    "training.verl": {
        "rollout": "transformers",
        "max_prompt_tokens": 128,
        "micro_batch_size_per_gpu": 3,
        "agent_workers": 1,
        "validation_questions": 4,
        "validate_every": 2,
    },
}


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """Corpus, index, training questions and an untrained model of a very small world."""
    folder = tmp_path_factory.mktemp("shared")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS)}
    command = [str(MAIN), "-m", "support.small_world", json.dumps(OVERRIDES), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="session")
def retriever(shared):
    """The token of a retrieval server over that corpus."""
    from mrsearch.config import Run, load_study, write_study

    study = load_study(Run(study="demo", overrides=OVERRIDES), ROOT)
    write_study(study, shared / "study.json")
    token = shared / "service" / "dense.json"
    places = [f"--study={shared / 'study.json'}", f"--corpus={shared / 'corpus'}", f"--indexes={shared / 'index'}"]
    mrsearch = [str(MAIN), "-m", "mrsearch.cli", "retriever"]
    subprocess.run([*mrsearch, "start", *places, str(token)], check=True, stdout=sys.stderr)
    yield token
    subprocess.run([*mrsearch, "stop", str(token)], check=True)


@pytest.fixture(scope="session")
def overrides():
    """What makes the study demo a very small one for verl."""
    return OVERRIDES
