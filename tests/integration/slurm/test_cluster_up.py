"""The test cluster itself: it schedules GPUs, and it is gone afterwards."""

from __future__ import annotations

import socket
from pathlib import Path

import psutil
import pytest
from support import debian

from .cluster import GPUS, NODES, PACKAGES, TestCluster

pytestmark = pytest.mark.integration


def test_jobs_get_gpus_of_their_own(quiet: TestCluster) -> None:
    seen = quiet.call("srun", "-n1", "--gres=gpu:2", "printenv", "CUDA_VISIBLE_DEVICES")
    assert seen == "0,1"
    assert quiet.call("sinfo", "-h", "-p", "gpu", "-o", "%D %G") == f"{len(NODES)} gpu:{GPUS}"


def test_a_second_cluster_beside_it_leaves_no_process(slurm: TestCluster, tmp_path: Path) -> None:
    second = TestCluster(tmp_path / "second")
    try:
        second.up()
        assert second.call("srun", "-N2", "printenv", "SLURMD_NODENAME").split() != []
    finally:
        second.down()
    running = [process for process in psutil.process_iter(["cmdline", "status"]) if process.info["status"] != "zombie"]
    assert [process.pid for process in running if str(tmp_path) in str(process.info["cmdline"])] == []
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", second.port)) != 0


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian.os, "geteuid", lambda: 1000)
    with pytest.raises(debian.Unavailable, match="no-such-program not found"):
        debian.install(("no-such-program",), PACKAGES)
