"""A job over two nodes: one task on each, and all ranks stop at the same step."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from mrsearch.cluster.managed import ManagedJob
from mrsearch.cluster.slurm import SlurmLauncher
from mrsearch.config.resources import Resources
from mrsearch.config.site import load_site

from .cluster import NODES, TestCluster
from .training import SITE, wait_until

pytestmark = pytest.mark.integration
STEPS = 30
# Ranks meet after every step, as collective operations would make them; each writes down what it finished.
RANK = """
import os, sys, time
from pathlib import Path
from mrsearch.cluster.stopping import StopRequest, Stopped
folder, steps = Path(sys.argv[1]), int(sys.argv[2])
rank, world = int(os.environ["MRSEARCH_RANK"]), int(os.environ["MRSEARCH_WORLD"])
done = folder / f"done-{rank}"
step = int(done.read_text()) if done.exists() else 0
stop = StopRequest(folder).listen()
with (folder / f"demonstration-{rank}").open("a") as demonstration:
    demonstration.write(f"{os.environ['SLURMD_NODENAME']} from {step}\\n")
while step < steps:
    time.sleep(0.1)
    (folder / f"met-{step}-{rank}").touch()
    while any(not (folder / f"met-{step}-{other}").exists() for other in range(world)):
        time.sleep(0.01)
    step += 1
    stopping = stop.after(step)
    if stopping or step % 1000 == 0:
        done.write_text(str(step))
    if stopping:
        with (folder / f"demonstration-{rank}").open("a") as demonstration:
            demonstration.write(f"stopped after {step}\\n")
        raise Stopped
(folder / f"out-{rank}").touch()
"""


def test_all_ranks_stop_after_the_same_step(quiet: TestCluster, place: Path) -> None:
    outputs = [place / f"out-{rank}" for rank in range(len(NODES))]
    command = [sys.executable, "-c", RANK, str(place), str(STEPS)]
    job = ManagedJob(command, "two-nodes", place / "job.log", outputs)
    resources = Resources(mem_mb=500, runtime=10, nodes=len(NODES), gpus=2)
    launcher = SlurmLauncher(load_site(SITE), "train", resources, graceful=True)
    shown: list[str] = []

    def preempt() -> None:
        wait_until(lambda: (place / "met-10-1").exists(), "ten steps")
        (job_id,) = quiet.jobs()
        quiet.call("scancel", "--signal=USR2", job_id)

    other = threading.Thread(target=preempt)
    other.start()
    job.run(launcher, shown.append, lambda: None)
    other.join()
    demonstrations = [(place / f"demonstration-{rank}").read_text().splitlines() for rank in range(len(NODES))]
    stopped = {line for demonstration in demonstrations for line in demonstration if line.startswith("stopped")}
    assert len(stopped) == 1, demonstrations
    (after,) = stopped
    step = after.split()[-1]
    assert [demonstration[-1].split(" ", 1)[1] for demonstration in demonstrations] == [f"from {step}"] * 2
    assert {demonstration[0].split()[0] for demonstration in demonstrations} == set(NODES)
