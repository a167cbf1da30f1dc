"""Trainings of a very small world, each in a process of its own, and what they leave behind."""

import json
import os
import signal
import subprocess
import time

import torch
from safetensors.torch import load_file

from support import small_world
from support.train_process import start_training

OVERRIDES = small_world.OVERRIDES | {
    "warm_start.steps": 12,
    "warm_start.demonstrations": 96,
    "warm_start.train_batch_size": 8,
    "warm_start.warmup_steps": 2,
    "warm_start.checkpoint_every": 3,
    "training.steps": 5,
}


def start(shared, out, method, folder, overrides=OVERRIDES):
    """A training process in its own session, which begins with the model in `folder`."""
    return start_training(overrides, shared, out, method, files={"start": folder}, stderr=subprocess.PIPE, text=True)


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
