"""The tracker, with the real wandb client writing real files."""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrsearch import tracking
from mrsearch.tracking import Tracker, upload

CONFIG = {"training": {"steps": 3}, "seeds": [0]}
BLOCK, FILE_HEADER, CHUNK_HEADER = 32768, 7, 7


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)


def start(directory: Path, **changes) -> Tracker:
    names = {"study_name": "demo", "model": "tiny", "method": "mr_search", "seed": 3, "config": CONFIG, **changes}
    return Tracker.start(directory=directory, **names)


def records(file: Path) -> Iterator:
    """The records of a .wandb file: a LevelDB log (blocks of chunks, each with crc, length and kind) of protobufs."""
    from wandb.proto import wandb_internal_pb2

    data, position, pending = file.read_bytes(), FILE_HEADER, b""
    while position + CHUNK_HEADER <= len(data):
        if BLOCK - position % BLOCK < CHUNK_HEADER:
            position += BLOCK - position % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        pending += data[position + CHUNK_HEADER : position + CHUNK_HEADER + length]
        position += CHUNK_HEADER + length
        if kind in (1, 4):
            yield wandb_internal_pb2.Record.FromString(pending)
            pending = b""


def runs(directory: Path) -> list[list]:
    return [list(records(file)) for file in sorted(directory.glob("wandb/offline-run-*/run-*.wandb"))]


def history(run: list) -> list[dict]:
    rows = []
    for record in run:
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    return rows


def test_an_offline_run_holds_names_configuration_and_curves(tmp_path):
    with start(tmp_path) as tracker:
        for step in (1, 2, 3):
            tracker.log(step, {"step": step, "reward": [0.1 * step, 0.2 * step], "tokens": 10 * step, "note": "x"})
    (run,) = runs(tmp_path)
    (about,) = [record.run for record in run if record.WhichOneof("record_type") == "run"]
    assert about.run_id == tracker.run_id
    assert (about.project, about.run_group, about.display_name) == (
        "mrsearch",
        "demo/tiny/mr_search",
        "demo/tiny/mr_search/seed3",
    )
    assert set(about.tags) == {"demo", "tiny", "mr_search", "seed3"}
    config = {item.key: json.loads(item.value_json) for item in about.config.update}
    assert (config["study"], config["method"], config["seed"]) == (CONFIG, "mr_search", 3)
    rows = history(run)
    assert [row["_step"] for row in rows] == [1, 2, 3]
    assert [row["reward/1"] for row in rows] == pytest.approx([0.1, 0.2, 0.3])
    assert [row["reward/2"] for row in rows] == pytest.approx([0.2, 0.4, 0.6])
    assert [(row["tokens"], row["note"]) for row in rows] == [(10, "x"), (20, "x"), (30, "x")]
    (end,) = [record.exit for record in run if record.WhichOneof("record_type") == "exit"]
    assert end.exit_code == 0


def test_a_restart_goes_on_with_the_same_run(tmp_path):
    with pytest.raises(KeyError), start(tmp_path) as first:
        first.log(1, {"reward": 0.1})
        raise KeyError("killed")
    time.sleep(1.1)  # wandb names its folders by the second
    with start(tmp_path) as second:
        second.log(2, {"reward": 0.2})
    assert first.run_id == second.run_id
    before, after = runs(tmp_path)
    assert [row["_step"] for row in history(before) + history(after)] == [1, 2]
    assert [record.exit.exit_code for record in before if record.WhichOneof("record_type") == "exit"] == [1]


def test_another_training_is_another_run(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    ids = [start(tmp_path).run_id, start(tmp_path).run_id]
    assert ids[0] == ids[1]
    ids.append(start(tmp_path / "elsewhere").run_id)
    ids.append(start(tmp_path, seed=4).run_id)
    ids.append(start(tmp_path, config={**CONFIG, "seeds": [1]}).run_id)
    assert len(set(ids)) == 4
    assert ids[0].split("-")[0] == ids[2].split("-")[0], "the hash is of what the training is, not of where"


def test_errors_never_reach_the_training(tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with caplog.at_level(logging.WARNING), start(blocked / "below") as tracker:
        tracker.log(1, {"reward": 0.1})
        tracker.log(2, {"reward": 0.1})
    assert tracker.run_id is None
    assert len([message for message in caplog.messages if message.startswith("W&B is off")]) == 1


def test_after_an_error_the_next_training_has_a_run_of_its_own(tmp_path):
    with start(tmp_path / "first") as tracker:
        tracker.log("not a step", {"reward": 0.1})  # type: ignore[arg-type]
    with start(tmp_path / "second") as tracker:
        tracker.log(1, {"reward": 0.2})
    (run,) = runs(tmp_path / "second")
    assert [row["reward"] for row in history(run)] == [0.2]


def test_an_error_while_logging_turns_reporting_off_once(tmp_path, caplog):
    tracker = start(tmp_path)
    with caplog.at_level(logging.WARNING):
        tracker.log("not a step", {"reward": 0.1})  # type: ignore[arg-type]
        tracker.log("not a step", {"reward": 0.1})  # type: ignore[arg-type]
    tracker.finish()
    tracker.finish()
    assert len([message for message in caplog.messages if message.startswith("W&B is off")]) == 1


def test_a_run_holds_tables_and_refers_to_files(tmp_path):
    model = tmp_path / "mr_search" / "model"
    model.mkdir(parents=True)
    (model / "model.safetensors").write_bytes(b"weights")
    with start(tmp_path) as tracker:
        tracker.table(2, "samples", ["question", "answer"], [["who?", "me"], ["<b>", "x"]])
        tracker.log(2, {"reward": 0.5})
        tracker.reference("tiny/mr_search", "model", [model])
    (run,) = runs(tmp_path)
    (row,) = history(run)
    assert (row["_step"], row["reward"]) == (2, 0.5)
    (table,) = tmp_path.glob("wandb/offline-run-*/files/media/table/*.json")
    assert json.loads(table.read_text())["data"] == [["who?", "me"], ["<b>", "x"]]
    artifacts = [record.artifact for record in run if record.WhichOneof("record_type") == "artifact"]
    artifacts += [
        record.request.log_artifact.artifact
        for record in run
        if record.WhichOneof("record_type") == "request" and record.request.HasField("log_artifact")
    ]
    (stored,) = [artifact for artifact in artifacts if artifact.type == "model"]
    assert stored.name == "tiny-mr_search"
    (entry,) = stored.manifest.contents
    assert (entry.path, entry.ref) == ("mr_search/model/model.safetensors", (model / "model.safetensors").as_uri())
    assert entry.digest


def test_sync_hands_every_waiting_run_to_wandb(tmp_path, monkeypatch):
    with start(tmp_path / "runs" / "tiny") as tracker:
        tracker.log(1, {"reward": 0.5})
    commands: list = []
    monkeypatch.setattr(
        tracking.subprocess,
        "run",
        lambda command, check: commands.append(command) or subprocess.CompletedProcess([], 7),
    )
    assert upload(tmp_path) == 7
    (command,) = commands
    assert command[1:5] == ["-m", "wandb", "sync", "--yes"]
    waiting = sorted(tmp_path.glob("runs/**/wandb/offline-run-*"))
    assert len(waiting) == 1 and command[5:] == [str(path) for path in waiting]
    for path in waiting:
        (path / "run.wandb.synced").touch()
    assert upload(tmp_path) == 0
    assert len(commands) == 1
    with pytest.raises(ValueError, match="holds no offline run"):
        upload(tmp_path / "nothing")


PROGRAM = """
import logging, pathlib, sys
logging.basicConfig(level=logging.WARNING, format="%(message)s")
from mrsearch.tracking import Tracker
assert "wandb" not in sys.modules, "imported before it is needed"
with Tracker.start("s", "m", "x", 0, {}, pathlib.Path(sys.argv[1])) as tracker:
    tracker.log(1, {"reward": 0.5})
"""


def track_elsewhere(directory: Path, address: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Track in a process of its own, in which every address wandb could call, server and proxies, is `address`."""
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"), address)
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(directory)],
        env={**os.environ, **proxies, "WANDB_BASE_URL": address, "NO_PROXY": "", "no_proxy": "", **environment},
        capture_output=True,
        text=True,
        check=True,
    )


def test_offline_means_no_network_and_no_output(tmp_path):
    called: list = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_count_calls, args=(server, called), daemon=True).start()
        done = track_elsewhere(tmp_path, f"http://127.0.0.1:{server.getsockname()[1]}")
    assert called == []
    assert done.stdout == done.stderr == ""
    assert len(runs(tmp_path)) == 1


def test_with_a_key_the_server_is_called_and_without_an_answer_the_files_stay(tmp_path):
    called: list = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_count_calls, args=(server, called), daemon=True).start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        done = track_elsewhere(tmp_path, address, WANDB_API_KEY="0" * 40, WANDB_INIT_TIMEOUT="2")
    assert called
    assert "until `wandb sync`" in done.stderr
    assert history(runs(tmp_path)[0])[0]["reward"] == 0.5


def _count_calls(server: socket.socket, called: list) -> None:
    while True:
        try:
            connection, address = server.accept()
        except OSError:
            return
        called.append(address)
        connection.close()
