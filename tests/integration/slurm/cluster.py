"""A real Slurm on loopback: controller, virtual nodes with GPUs and munge, all below one folder.

With MRSEARCH_SLURM_ACCOUNTING=1 it keeps accounts in a database, and its controller forgets jobs soon, so that sacct is
asked. Nothing of the system's own Slurm is touched: the clients find this one by SLURM_CONF.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

import psutil
from support.debian import Unavailable, install

from . import accounting

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "squeue", "scancel", "scontrol")
PARTITIONS = {"gpu": ("gpu0", "gpu1"), "limited": ("gpu2",), "losing": ("gpu3", "gpu4")}
"""Nodes by partition: one that tests share, and two for cases that go on beside the other tests."""
NODES = PARTITIONS["gpu"]
PREEMPTED = {
    "requeued": "REQUEUE GraceTime=0",
    "cancelled": "CANCEL GraceTime=0",
    "cancelled_late": "CANCEL GraceTime=10",
}
"""Further partitions of the shared nodes, whose jobs make way in other ways than those of `gpu` (requeued, 10 s)."""
SHARED = ",".join(["gpu", "urgent", *PREEMPTED])
CPUS, MEMORY_MB, GPUS = 8, 16000, 4
START_SECONDS = 60.0

CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldAddr=127.0.0.1
SlurmctldPort={ports[0]}
SlurmctldParameters=preempt_send_user_signal
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmdParameters=config_overrides
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={root}/run/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/run/slurmctld.pid
SlurmdPidFile={root}/run/slurmd.%n.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
{accounting}
MpiDefault=none
SwitchType=switch/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=20000,bf_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=200
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MinJobAge={remembered}
KillWait=3
ReturnToService=2
SlurmdTimeout=20
MessageTimeout=10
JobRequeue=1
{nodes}
PartitionName=DEFAULT MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=REQUEUE GraceTime=10
{partitions}
PartitionName=urgent Nodes={shared} PriorityTier=100 PreemptMode=OFF
"""


class TestCluster:
    """One cluster. `up` returns once all nodes are idle; `down` ends every process that `up` started."""

    __test__ = False

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "etc" / "slurm.conf"
        self.accounts = bool(os.environ.get("MRSEARCH_SLURM_ACCOUNTING"))

    @property
    def port(self) -> int:
        """Where the controller listens."""
        return int(self.config.read_text().partition("SlurmctldPort=")[2].split()[0])

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which clients, and what Slurm starts, find this cluster."""
        return {"SLURM_CONF": str(self.config), "PATH": f"{self.root / 'bin'}{os.pathsep}{os.environ['PATH']}"}

    def up(self) -> None:
        """Start everything; Unavailable if programs are missing and may not be installed, or if nodes stay away."""
        install(PROGRAMS, PACKAGES)
        if self.accounts:
            install(accounting.PROGRAMS, accounting.PACKAGES)
        for name in ("etc", "state", "spool", "log", "run", "bin"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        self._write_files()
        self._start("munged", "--force", f"--key-file={self.root}/etc/munge.key", *self._munge_files())
        if self.accounts:
            accounting.up(self.root, self._start, self.call)
        self._start("slurmctld", "-f", str(self.config))
        for node in all_nodes():
            self.start_node(node)
        self._wait_for_nodes()

    def down(self) -> None:
        """Cancel all jobs, then end the daemons by the ids they wrote."""
        with contextlib.suppress(subprocess.SubprocessError):
            self.call("scancel", "--user", getpass.getuser())
            self.cancel_all()
        for pattern in ("slurmd.*.pid", "slurmctld.pid", *accounting.PID_FILES, "munged.pid"):
            for file in sorted((self.root / "run").glob(pattern)):
                _end(file)

    def cancel_all(self) -> None:
        """No job of the shared partitions is left, pending or running."""
        jobs = self.jobs()
        if jobs:
            self.call("scancel", *jobs)
        deadline = time.monotonic() + 30
        while self.jobs() and time.monotonic() < deadline:
            time.sleep(0.1)

    def jobs(self, *options: str, partition: str = SHARED) -> list[str]:
        """Ids of the jobs that wait or run, in the partitions that tests share or in another one."""
        return self.call("squeue", "-h", "-p", partition, "-o", "%A", *options).split()

    def call(self, *command: str) -> str:
        """Output of a Slurm command."""
        environment = os.environ | self.environment
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
        if done.returncode:
            raise subprocess.SubprocessError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def stop_controller(self) -> None:
        """End the controller, which saves what it knows; jobs go on, and nobody can be asked about them."""
        process = psutil.Process(int((self.root / "run" / "slurmctld.pid").read_text()))
        process.terminate()
        gone, _ = psutil.wait_procs([process], timeout=60)
        assert gone, "the controller does not end"

    def start_controller(self) -> None:
        """Start it again, with what it had saved."""
        self._start("slurmctld", "-f", str(self.config))

    def stop_accounting(self) -> None:
        """End the daemon of the accounts, for good."""
        _end(self.root / "run" / "slurmdbd.pid")

    def start_node(self, node: str) -> None:
        """Start a node's daemon."""
        self._start("slurmd", "-N", node, "-f", str(self.config))

    def stop_node(self, node: str) -> None:
        """Kill a node's daemon, as if the node had lost its network: what runs on it goes on running."""
        file = self.root / "run" / f"slurmd.{node}.pid"
        os.kill(int(file.read_text()), signal.SIGKILL)
        file.unlink()

    def node_states(self, partition: str) -> list[str]:
        """State of each node of a partition."""
        return self.call("sinfo", "-h", "-N", "-p", partition, "-o", "%T").split()

    def tails(self) -> str:
        """Last lines of every log."""
        parts = []
        for log in sorted((self.root / "log").glob("*.log")):
            parts += [f"--- {log.name}", *log.read_text(errors="replace").splitlines()[-15:]]
        return "\n".join(parts)

    def _munge_files(self) -> list[str]:
        run = self.root / "run"
        files = {"socket": run / "munge.socket", "pid-file": run / "munged.pid", "seed-file": run / "munged.seed"}
        files["log-file"] = self.root / "log" / "munged.log"
        return [*(f"--{option}={file}" for option, file in files.items()), "--num-threads=10"]

    def _write_files(self) -> None:
        key = self.root / "etc" / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        host, ports = socket.gethostname().split(".")[0], free_ports(2 + len(all_nodes()))
        nodes = [
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={CPUS} RealMemory={MEMORY_MB} "
            f"Gres=gpu:{GPUS} State=UNKNOWN"
            for node, port in zip(all_nodes(), ports[2:], strict=True)
        ]
        partitions = [f"PartitionName={name} Nodes={','.join(names)}" for name, names in PARTITIONS.items()]
        partitions[0] += " Default=YES"
        partitions += [
            f"PartitionName={name} Nodes={','.join(NODES)} PreemptMode={how}" for name, how in PREEMPTED.items()
        ]
        values = {"host": host, "ports": ports, "user": getpass.getuser(), "root": self.root, "shared": ",".join(NODES)}
        lines = {"nodes": "\n".join(nodes), "partitions": "\n".join(partitions)}
        lines |= {"accounting": "AccountingStorageType=accounting_storage/none", "remembered": "600"}
        if self.accounts:
            lines |= {"accounting": accounting.write_files(self.root, host, ports[1]), "remembered": "5"}
        self.config.write_text(CONFIG.format(**values, **lines))
        gres = [f"NodeName={node} Name=gpu File={self._devices(node)}" for node in all_nodes()]
        (self.root / "etc" / "gres.conf").write_text("\n".join(gres) + "\n")
        (self.root / "etc" / "cgroup.conf").write_text("CgroupAutomount=no\nConstrainCores=no\nConstrainDevices=no\n")
        # Snakemake's job step removes SLURM_CONF from the environment of its srun; PATH stays.
        shim, srun = self.root / "bin" / "srun", Path(shutil.which("sbatch") or "/usr/bin/sbatch").parent / "srun"
        shim.write_text(f'#!/bin/sh\nexport SLURM_CONF="{self.config}"\nexec "{srun}" "$@"\n')
        shim.chmod(0o755)

    def _devices(self, node: str) -> str:
        """Character devices that stand for GPUs: Slurm accepts no ordinary files."""
        folder = self.root / "dev" / node
        folder.mkdir(parents=True, exist_ok=True)
        try:
            for number in range(GPUS):
                os.mknod(folder / f"nvidia{number}", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        except PermissionError:
            return f"/dev/tty[0-{GPUS - 1}]"
        return f"{folder}/nvidia[0-{GPUS - 1}]"

    def _start(self, *command: str) -> None:
        done = subprocess.run(
            command, env=os.environ | self.environment, capture_output=True, text=True, timeout=30, cwd=self.root
        )
        if done.returncode:
            raise Unavailable(f"{command[0]} did not start: {done.stderr.strip()}\n{self.tails()}")

    def _wait_for_nodes(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        states: list[str] = []
        while time.monotonic() < deadline:
            with contextlib.suppress(subprocess.SubprocessError):
                states = self.node_states(",".join(PARTITIONS))
                if states == ["idle"] * len(all_nodes()):
                    return
            time.sleep(0.2)
        raise Unavailable(f"the nodes did not come up within {START_SECONDS:g} s: {states}\n{self.tails()}")


def all_nodes() -> list[str]:
    """Nodes of all partitions."""
    return [node for nodes in PARTITIONS.values() for node in nodes]


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on at the moment."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _end(file: Path) -> None:
    """Kill the process whose id the file holds: no job runs, and the state is of no use to anyone."""
    with contextlib.suppress(psutil.NoSuchProcess, ValueError, FileNotFoundError):
        process = psutil.Process(int(file.read_text()))
        process.kill()
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.02)
    file.unlink(missing_ok=True)
