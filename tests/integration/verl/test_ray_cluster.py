"""A training's Ray cluster is closed to those without its token, and ends with its block."""

import os
import subprocess
import sys

import psutil

CLUSTER = """
import os, sys
from pathlib import Path
from mrsearch.training.verl.ray_cluster import Node, ray_cluster
with ray_cluster(Node(Path(sys.argv[1]), 2, 0, 200), {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"}) as address:
    mode = oct(os.stat(os.environ["RAY_AUTH_TOKEN_PATH"]).st_mode)[-3:]
    print("\\n" + address, os.environ["RAY_AUTH_TOKEN_PATH"], mode, flush=True)
    sys.stdin.readline()
"""
JOIN = "import ray, sys; ray.init(address=sys.argv[1], logging_level='ERROR'); print(len(ray.nodes()))"


def join(address, **environment):
    command = [sys.executable, "-c", JOIN, address]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=240)


def test_only_who_has_the_token_joins_and_nothing_stays(tmp_path):
    command = [sys.executable, "-c", CLUSTER, str(tmp_path)]
    cluster = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    line = next(line for line in cluster.stdout if ".token" in line)
    address, token, mode = line.split()
    assert mode == "600"

    good = join(address, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=token)
    assert good.stdout.strip() == "1", good.stderr[-2000:]
    family = psutil.Process(cluster.pid).children(recursive=True)
    assert any("raylet" in each.name() for each in family)
    other = tmp_path / "other.token"
    other.write_text("ab" * 32)
    bad = join(address, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(other))
    assert bad.returncode != 0 and bad.stdout == ""

    cluster.communicate("\n", timeout=120)
    assert cluster.returncode == 0
    _, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []
    assert [path.name for path in tmp_path.iterdir()] == ["other.token"]
