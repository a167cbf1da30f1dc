"""Tests with released verl. They run in the environment that `make train-env` makes; `make test` sees to that."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MAIN = ROOT / ".venv" / "bin" / "python"
"""The project's own environment: it has the index and the retrieval server, the training environment has not."""
INSTALLED = importlib.util.find_spec("verl") is not None
collect_ignore_glob = [] if INSTALLED else ["test_*.py"]
if INSTALLED:  # the tests of the other environment run without all this
    # verl chooses its platform when it is imported.
    os.environ |= {"VERL_USE_EXTERNAL_MODULES": "mrsearch.training.verl.cpu.plugin", "VERL_PLATFORM": "cpu"}
    os.environ |= {"VERL_USE_EXTERNAL_PLUGINS": "none", "GLOO_SOCKET_IFNAME": "lo", "TOKENIZERS_PARALLELISM": "false"}
    os.environ |= {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"}
NEED_RAY = ("test_dag", "test_failures", "test_ray_cluster")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ray cannot start its workers from a folder with a space in its name; the rest runs anywhere."""
    if " " in sys.prefix:
        for item in items:
            if item.path.stem in NEED_RAY:
                item.add_marker(pytest.mark.skip(reason=f"Ray cannot start from {sys.prefix}: its path has a space"))


OVERRIDES = {
    "data.train_entities": 60,
    "data.test_entities": 60,
    "data.train_questions": 200,
    "data.questions_per_benchmark": 4,
    "retrieval.service": {"mode": "http"},
    "training.backend": "verl",
    "training.steps": 4,
    "training.token_budget": None,
    "training.questions_per_step": 4,
    "training.group_size": 3,
    "training.minibatches": 2,
    "training.checkpoint_every": 2,
    "training.verl": {
        "rollout": "transformers",
        "prompt_tokens": 128,
        "micro_sequences_per_gpu": 3,
        "agent_workers": 1,
        "validation_questions": 4,
        "validate_every": 2,
    },
    "models.tiny": {"kind": "tiny", "hidden_size": 32, "layers": 2, "heads": 2, "kv_heads": 2, "intermediate_size": 48},
}
SHARED = """
import json, sys
from pathlib import Path
from mrsearch.config import Run, load_study
from mrsearch.data.questions import write_questions
from mrsearch.data.world import World
from mrsearch.retrieval.indexes import build_index
from mrsearch.retrieval.passages import build_store
from mrsearch.training.base_model import make_base
study, folder = load_study(Run(study="demo", overrides=json.loads(sys.argv[1])), Path(sys.argv[2])), Path(sys.argv[3])
build_store(World(study.data).passages(), folder / "corpus")
build_index(study, "dense", folder / "corpus", folder / "index" / "dense")
write_questions(study, "train", folder / "train.parquet")
make_base(study, "tiny", folder / "corpus", folder / "base")
"""


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """Corpus, index, training questions and an untrained model of a very small world."""
    folder = tmp_path_factory.mktemp("shared")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [str(MAIN), "-c", SHARED, json.dumps(OVERRIDES), str(ROOT), str(folder)]
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
