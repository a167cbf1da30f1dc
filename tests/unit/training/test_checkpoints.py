"""A damaged checkpoint costs the steps since an older whole one, never the training."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mrsearch.seal import BLOCK_BYTES, BLOCKS, SEAL, damage, sampled_sha256, seal
from mrsearch.training import checkpoints
from mrsearch.training.verl.run_files import RunFiles


def _cut(size: int) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, size)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _zeros(path: Path) -> None:
    """What some file systems show after a power failure: the size, and nothing in it."""
    path.write_bytes(bytes(path.stat().st_size))


DAMAGES = {"cut to 0": _cut(0), "cut to 200": _cut(200), "zeros": _zeros, "flipped": _flip, "gone": Path.unlink}


def trained(run: Path, steps: tuple[int, ...], keep: int = 3) -> None:
    model = torch.nn.Linear(16, 16)
    for step in steps:
        with torch.no_grad():
            model.weight.fill_(float(step))
        checkpoints.save(run, step, model, torch.optim.AdamW(model.parameters()), {"tokens": step}, keep)


def resumed(run: Path) -> tuple[int, float] | None:
    """Step and weight that a restarted training goes on from."""
    model = torch.nn.Linear(16, 16)
    if (found := checkpoints.latest(run)) is None:
        return None
    checkpoints.restore(found, model, torch.optim.AdamW(model.parameters()))
    return found.next_step, model.weight[0, 0].item()


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("file", ["state.pt", "counters.json"])
def test_the_older_checkpoint_is_used(tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, file: str) -> None:
    trained(tmp_path, (10, 20, 30))
    path = tmp_path / "step-000030" / file
    if kind == "cut to 200" and path.stat().st_size < 200:
        kind = "cut to 0"
    DAMAGES[kind](path)
    with caplog.at_level(logging.WARNING):
        assert resumed(tmp_path) == (20, 20.0)
    assert "step-000030" in caplog.text and "damaged" in caplog.text


def test_of_several_damaged_ones_the_oldest_whole_one_counts(tmp_path: Path) -> None:
    trained(tmp_path, (10, 20, 30))
    for step in (20, 30):
        _cut(7)(tmp_path / f"step-0000{step}" / "state.pt")
    assert resumed(tmp_path) == (10, 10.0)


def test_without_a_whole_one_the_training_begins_anew(tmp_path: Path) -> None:
    trained(tmp_path, (10, 20))
    for folder in tmp_path.iterdir():
        _cut(0)(folder / "state.pt")
    assert resumed(tmp_path) is None
    trained(tmp_path, (10,))
    assert resumed(tmp_path) == (10, 10.0)


def test_a_save_in_progress_is_no_checkpoint(tmp_path: Path) -> None:
    trained(tmp_path, (10,))
    (tmp_path / "step-000020.another-node-1-0a1b2c3d.part").mkdir()
    assert resumed(tmp_path) == (10, 10.0)
    trained(tmp_path, (20, 30), keep=1)
    assert resumed(tmp_path) == (30, 30.0)


def verl_run(folder: Path, steps: tuple[int, ...], sealed: bool) -> RunFiles:
    files = RunFiles(folder)
    for step in steps:
        shard = files.checkpoint(step) / "actor" / "model_world_size_1_rank_0.pt"
        shard.parent.mkdir(parents=True)
        torch.save({"weight": torch.full((2000,), float(step))}, shard)
        files.counters(step).write_text('{"tokens": 1}')
        if sealed:
            seal(files.checkpoint(step))
    files.mark.write_text(str(steps[-1]))
    return files


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("kind", ["cut to 0", "cut to 200", "zeros"])
def test_verl_goes_on_from_the_older_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, sealed: bool
) -> None:
    files = verl_run(tmp_path, (10, 20, 30), sealed)
    DAMAGES[kind](files.checkpoint(30) / "actor" / "model_world_size_1_rank_0.pt")
    with caplog.at_level(logging.WARNING):
        assert files.recover() == 20
    assert "global_step_30" in caplog.text
    assert files.mark.read_text() == "20" and files.last() == 20


@pytest.mark.parametrize("mark", ["", "30\n", "3", "not a number", None])
def test_verl_goes_on_whatever_its_mark_is(tmp_path: Path, mark: str | None) -> None:
    files = verl_run(tmp_path, (3, 30), sealed=True)
    if mark is None:
        files.mark.unlink()
    else:
        files.mark.write_text(mark)
    assert files.recover() == (3 if mark == "3" else 30)
    assert files.mark.read_text().strip() == ("3" if mark == "3" else "30")


def test_verl_begins_anew_without_a_whole_checkpoint(tmp_path: Path) -> None:
    files = verl_run(tmp_path, (10,), sealed=True)
    _flip(files.checkpoint(10) / "actor" / "model_world_size_1_rank_0.pt")
    assert files.recover() is None and not files.mark.exists()


def test_a_damaged_best_checkpoint_is_not_exported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = verl_run(tmp_path, (10, 20), sealed=True)
    files.note_validation(10, {"a": 1.0, "b": 0.8})
    assert files.exported("best") == 10
    _cut(200)(files.checkpoint(10) / "actor" / "model_world_size_1_rank_0.pt")
    with caplog.at_level(logging.WARNING):
        assert files.exported("best") == 20
    assert "global_step_10" in caplog.text


def test_an_end_counts_only_with_its_checkpoint(tmp_path: Path) -> None:
    from mrsearch.files import write_json
    from mrsearch.training.verl.rl.train import _finished

    files = verl_run(tmp_path, (10, 20), sealed=True)
    write_json(files.ended, {"step": 20, "reason": "steps"})
    assert _finished(files)
    _cut(0)(files.counters(20))
    assert not _finished(files)


def test_samples_reach_from_the_first_byte_to_the_last(tmp_path: Path) -> None:
    size = BLOCKS * BLOCK_BYTES + 12_345
    content = random.Random(0).randbytes(size)
    path = tmp_path / "large"
    path.write_bytes(content)
    whole = sampled_sha256(path)
    for place in (0, size - 1, size // (BLOCKS - 1) // 2 * 2):
        changed = bytearray(content)
        changed[place] ^= 255
        path.write_bytes(changed)
        assert sampled_sha256(path) != whole, place


def test_a_seal_names_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a").write_text("a")
    seal(tmp_path)
    assert damage(tmp_path) is None
    (tmp_path / "deep" / "a").write_text("b")
    assert "deep/a: is not the file that was written" in str(damage(tmp_path))
    (tmp_path / "deep" / "a").unlink()
    assert "deep/a: is missing" in str(damage(tmp_path))
    _cut(3)(tmp_path / SEAL)
    assert damage(tmp_path) is not None
    assert "is no folder" in str(damage(tmp_path / "nowhere"))
