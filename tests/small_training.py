"""Trainings of a very small world, each in a process of its own, and what they leave behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file

from mrsearch.config import Run, load_study
from mrsearch.data.world import World
from mrsearch.retrieval.indexes import build_index
from mrsearch.retrieval.passages import build_store
from mrsearch.training.base_model import make_base

ROOT = Path(__file__).parents[1]
OVERRIDES = {
    "data.train_entities": 60,
    "data.test_entities": 60,
    "data.train_questions": 200,
    "data.questions_per_benchmark": 4,
    "warm_start.steps": 12,
    "warm_start.traces": 96,
    "warm_start.batch_traces": 8,
    "warm_start.warmup_steps": 2,
    "warm_start.checkpoint_every": 3,
    "training.steps": 5,
    "training.token_budget": None,
    "training.questions_per_step": 4,
    "training.group_size": 3,
    "training.checkpoint_every": 2,
    "models.tiny": {"kind": "tiny", "hidden_size": 32, "layers": 2, "heads": 2, "kv_heads": 2, "intermediate_size": 48},
}
SCRIPT = """
import json, sys
from pathlib import Path
from mrsearch.config import Run, load_study
from mrsearch.training.launch import train_method
study = load_study(Run(study="demo", overrides=json.loads(sys.argv[1])), Path(sys.argv[2]))
shared, out, method, start = Path(sys.argv[3]), Path(sys.argv[4]), sys.argv[5], Path(sys.argv[6])
train_method(study, "tiny", method, 3, start=start, questions=shared / "train.parquet", corpus=shared / "corpus",
             indexes=shared / "index", endpoint=None, out=out / "model", log_file=out / "train.jsonl",
             run=out / "run.json", run_dir=out / "runs")
"""


def make_shared(folder):
    """Corpus, index, training questions and base model of a very small world."""
    study = load_study(Run(study="demo", overrides=OVERRIDES), ROOT)
    world = World(study.data)
    build_store(world.passages(), folder / "corpus")
    build_index(study, "dense", folder / "corpus", folder / "index" / "dense")
    rows = [
        {key: row[key] for key in ("id", "question", "golden_answers")} | {"data_source": "train"}
        for row in world.train_questions()
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "train.parquet")
    make_base(study, "tiny", folder / "corpus", folder / "base")
    return folder


def start(shared, out, method, folder, overrides=OVERRIDES):
    """A training process in its own session."""
    places = [str(ROOT), str(shared), str(out), method, str(folder)]
    command = [sys.executable, "-c", SCRIPT, json.dumps(overrides), *places]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)


def train(shared, out, method, folder, overrides=OVERRIDES):
    """Train to the end; returns the model's folder."""
    process = start(shared, out, method, folder, overrides)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    return out / "model"


def kill_when(process, reached, out, seconds=240):
    """SIGKILL a training once `reached` says so; it must not have ended by then."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None and not reached():
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (out / "model").exists(), "the training ended before it could be killed"


def kill_after(shared, out, method, folder, lines, overrides=OVERRIDES):
    """Start a training and SIGKILL it once its log has so many rows; returns how many it had."""
    log = out / "runs" / "train.jsonl"
    process = start(shared, out, method, folder, overrides)
    kill_when(process, lambda: log.exists() and len(log.read_text().splitlines()) >= lines, out)
    return len(log.read_text().splitlines())


def weights(folder):
    """Tensors of an exported model."""
    return load_file(folder / "model.safetensors")


def rows(out):
    """The training log without times."""
    return [
        {k: v for k, v in json.loads(line).items() if k != "seconds"}
        for line in (out / "train.jsonl").read_text().splitlines()
    ]


def assert_same(first, second):
    """Equal names and equal bits."""
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name
