"""Trainings of a very small world: here, or in processes that can be killed, and what they leave behind."""

import json
import os
import signal
import subprocess
import time

import pytest
import torch
from safetensors.torch import load_file

from mrsearch.config import Run, load_study
from mrsearch.training.launch import train_method
from support import small_world
from support.project import ROOT
from support.train_process import start_training
from support.trainings import training_run

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
    """Train to the end in this process, whose imports serve all trainings; returns the model's folder."""
    study = load_study(Run(study="demo", overrides=overrides), ROOT)
    with pytest.MonkeyPatch.context() as variables:
        variables.setenv("WANDB_MODE", "offline")
        train_method(training_run(study, "tiny", method, 3, shared, out, start=folder))
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
