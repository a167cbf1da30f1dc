"""verl's supervised trainer with two processes: as the local loop trains, through SIGKILL and a request to stop."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch
import yaml
from safetensors.torch import load_file
from support.project import ROOT
from support.train_process import start_training
from support.trainings import training_run

from mrsearch.config import Run, load_study
from mrsearch.training.log import TrainingLog
from mrsearch.training.outlook import Budget
from mrsearch.training.sft.loop import fine_tune
from mrsearch.training.verl.run_files import RunFiles
from mrsearch.training.verl.sft import recipe as sft_recipe

STEPS, EVERY, PATIENCE = 80, 20, 120
TUNING = {
    "sft": {
        "backend": "verl",
        "cpu_ranks": 2,
        "steps": STEPS,
        "train_batch_size": 8,
        "micro_batch_size": 2,
        "learning_rate": 1e-3,
        "warmup_steps": 5,
        "checkpoint_every": EVERY,
        "questions": 60,
    },
    "methods.sft": {"procedure": "direct", "train": {"algorithm": "sft", "demonstrations": "gold_answers"}},
}


def start(overrides, shared, out):
    """A fine-tuning in a process of its own, which starts verl's."""
    with (out / "log").open("a") as output:
        return start_training(overrides, shared, out, "sft", stdout=output, stderr=output)


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for_rows(process, out, count):
    deadline = time.monotonic() + PATIENCE
    while len(rows(out / "runs" / "train.jsonl")) < count:
        assert process.poll() is None, (out / "log").read_text()[-3000:]
        assert time.monotonic() < deadline, (out / "log").read_text()[-3000:]
        time.sleep(0.02)


@pytest.fixture(scope="module")
def tuned(shared, overrides, tmp_path_factory):
    """A fine-tuning that was killed, asked to stop, and then came to its end."""
    out = tmp_path_factory.mktemp("sft")
    checkpoints = RunFiles(out / "runs")
    process = start(overrides | TUNING, shared, out)
    wait_for_rows(process, out, EVERY + 5)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 3, "a launcher and two ranks"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive, "processes outlived the training"
    assert not (out / "model").exists()
    killed_at = checkpoints.last()

    process = start(overrides | TUNING, shared, out)
    wait_for_rows(process, out, killed_at + 25)
    process.send_signal(signal.SIGUSR2)
    stopped = process.wait(PATIENCE)
    stopped_at = checkpoints.last()

    process = start(overrides | TUNING, shared, out)
    assert process.wait(PATIENCE) == 0, (out / "log").read_text()[-3000:]
    return {"out": out, "killed_at": killed_at, "stopped": stopped, "stopped_at": stopped_at}


@pytest.fixture(scope="module")
def local(shared, overrides, tuned, tmp_path_factory):
    """The same demonstrations, trained by the local loop without interruption."""
    study = load_study(Run(study="demo", overrides=overrides | TUNING), ROOT)
    out = tmp_path_factory.mktemp("local")
    demonstrations = tuned["out"] / "runs" / "demonstrations.parquet"
    fine_tune(
        training_run(study, "tiny", "sft", 3, shared, out, out),
        demonstrations,
        TrainingLog(out, "local", Budget(STEPS)),
    )
    return out


def test_it_went_on_from_its_checkpoints(tuned):
    assert tuned["killed_at"] % EVERY == 0
    assert tuned["killed_at"] >= EVERY
    assert tuned["stopped"] == 75
    assert tuned["killed_at"] < tuned["stopped_at"] < STEPS
    log = rows(tuned["out"] / "train.jsonl")
    assert [row["step"] for row in log] == list(range(STEPS))
    left = sorted(path.name for path in (tuned["out"] / "runs" / "checkpoints").glob("global_step_*"))
    assert left == [f"global_step_{STEPS - 20}", f"global_step_{STEPS}"], "the last whole one, and one to fall back to"


def test_it_trains_as_the_local_loop_does(tuned, local):
    """Equal batches in equal order: the first loss to float precision, later ones and the weights nearly."""
    found, wanted = rows(tuned["out"] / "train.jsonl"), rows(local / "train.jsonl")
    assert [row["tokens"] for row in found] == [row["tokens"] for row in wanted]
    assert found[0]["nll"] == pytest.approx(wanted[0]["nll"], rel=1e-6)
    assert found[0]["gradient_norm"] == pytest.approx(wanted[0]["gradient_norm"], rel=1e-5)
    assert [row["nll"] for row in found] == pytest.approx([row["nll"] for row in wanted], rel=1e-3)
    assert found[-1]["nll"] < found[0]["nll"] - 1
    model, same = (load_file(folder / "model" / "model.safetensors") for folder in (tuned["out"], local))
    assert model.keys() == same.keys()
    for name in model:
        torch.testing.assert_close(model[name], same[name], rtol=0, atol=2e-3)


def test_the_export_is_an_ordinary_folder_with_other_weights(tuned, shared):
    from transformers import AutoModelForCausalLM

    out = tuned["out"] / "model"
    assert AutoModelForCausalLM.from_pretrained(out).config.model_type == "qwen2"
    before, after = load_file(shared / "base" / "model.safetensors"), load_file(out / "model.safetensors")
    assert all((before[name] - after[name]).abs().max() > 1e-3 for name in after if "proj" in name)
    assert "log-probabilities differ by" in (tuned["out"] / "log").read_text()
    run = json.loads((tuned["out"] / "run.json").read_text())
    assert run["demonstrations"]["right"] == 60
    assert list((tuned["out"] / "runs").glob("wandb/*run-*")), "W&B has its curves"


def test_a_wrong_export_is_refused(tuned, shared, tmp_path):
    """A probe of other weights is not the checkpoint's."""
    import shutil

    from mrsearch.training.verl.export import export_checkpoint

    checkpoint = tmp_path / f"global_step_{STEPS}"
    shutil.copytree(tuned["out"] / "runs" / "checkpoints" / checkpoint.name, checkpoint)
    probe = json.loads((checkpoint / "probe.json").read_text())
    assert len(probe["rows"]) == 2
    for row in probe["rows"]:
        assert sum(row["mask"]) > 0
        row["logprobs"] = [value - 0.01 for value in row["logprobs"]]
    (checkpoint / "probe.json").write_text(json.dumps(probe))
    with pytest.raises(RuntimeError, match="the merged model is not the trained policy"):
        export_checkpoint(checkpoint, shared / "base", tmp_path / "model", shards=".")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("model", ["qwen2.5-3b", "qwen2.5-7b"])
@pytest.mark.parametrize("method", ["sft", "sft_rag", "rejection_sampling"])
def test_the_shipped_fine_tunings_compose(shared, model, method, tmp_path):
    from verl.utils.config import omega_conf_to_dataclass

    study = load_study(Run(study="baselines"), ROOT)
    run = training_run(study, model, method, 0, shared, tmp_path)
    config = sft_recipe.compose(sft_recipe.settings(run))
    assert config.data.train_batch_size == study.sft.train_batch_size
    assert config.trainer.total_training_steps == study.sft.steps
    assert (config.trainer.n_gpus_per_node, config.trainer.nnodes, config.trainer.device) == (8, 1, "cuda")
    assert (config.optim.lr, config.optim.lr_scheduler_type) == (1e-5, "cosine")
    for part in (config.engine, config.optim, config.checkpoint, config.model):
        assert omega_conf_to_dataclass(part) is not None


def test_a_key_that_verl_does_not_have_is_refused(overrides, tmp_path):
    study = load_study(Run(study="demo", overrides=overrides | TUNING), ROOT)
    changes = sft_recipe.settings(training_run(study, "tiny", "sft", 0, tmp_path, tmp_path))
    changes["data"]["max_obs_length"] = 1024
    with pytest.raises(ValueError, match="max_obs_length"):
        sft_recipe.compose(changes)


def test_the_whole_configuration_is_printed():
    command = [sys.executable, "-m", "mrsearch.cli", "verl-config", "--study", "baselines"]
    command += ["--model", "qwen2.5-7b", "--method", "rejection_sampling", "--seed", "4"]
    printed = yaml.safe_load(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert printed["sft"]["seed"] == printed["engine"]["seed"] == 4
    assert {"data", "model", "engine", "optim", "checkpoint", "trainer"} <= set(printed)
