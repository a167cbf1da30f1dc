"""Accounts of the test cluster: a database and Slurm's daemon before it, below the cluster's folder."""

from __future__ import annotations

import contextlib
import getpass
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from support.debian import Unavailable

PROGRAMS = ("slurmdbd", "mariadbd", "mariadb-install-db", "sacctmgr")
PACKAGES = ("slurmdbd", "mariadb-server-core", "mariadb-client-core")
PID_FILES = ("slurmdbd.pid", "mariadbd.pid")
SECONDS = 60.0

CONTROLLER = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={root}/run/munge.socket
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment"""
DAEMON = """\
AuthType=auth/munge
AuthInfo=socket={root}/run/munge.socket
DbdAddr=127.0.0.1
DbdHost={host}
DbdPort={port}
SlurmUser={user}
LogFile={root}/log/slurmdbd.log
PidFile={root}/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser={user}
StorageLoc=slurm_acct_db
CommunicationParameters=NoInAddrAnyDBD
"""


def write_files(root: Path, host: str, port: int) -> str:
    """Write the daemon's configuration; returns the controller's lines."""
    values = {"root": root, "host": host, "port": port, "user": getpass.getuser()}
    file = root / "etc" / "slurmdbd.conf"
    file.write_text(DAEMON.format(**values))
    file.chmod(0o600)
    return CONTROLLER.format(**values)


def up(root: Path, start: Callable[..., None], call: Callable[..., str]) -> None:
    """Start database and daemon, and name the cluster, an account and this user in them; `down` of the cluster ends
    both by their files of process ids."""
    data, socket = root / "mysql", root / "run" / "mysql.sock"
    user = ["--no-defaults", f"--user={getpass.getuser()}", f"--datadir={data}"]
    start("mariadb-install-db", *user, "--auth-root-authentication-method=normal", "--skip-test-db")
    options = ["--skip-networking", f"--pid-file={root}/run/mariadbd.pid", "--innodb-buffer-pool-size=64M"]
    with (root / "log" / "mariadbd.log").open("wb") as output:
        subprocess.Popen(
            ["mariadbd", *user, f"--socket={socket}", *options],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    _await(socket.exists, "the database does not listen")
    os.environ["MYSQL_UNIX_PORT"] = str(socket)
    try:
        start("slurmdbd")
    finally:
        del os.environ["MYSQL_UNIX_PORT"]

    def answers() -> bool:
        with contextlib.suppress(subprocess.SubprocessError):
            call("sacctmgr", "-n", "list", "cluster")
            return True
        return False

    _await(answers, "slurmdbd does not answer")
    call("sacctmgr", "-i", "add", "cluster", "test")
    call("sacctmgr", "-i", "add", "account", "lab", "Cluster=test")
    call("sacctmgr", "-i", "add", "user", getpass.getuser(), "Account=lab")


def _await(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise Unavailable(f"{what} within {SECONDS:g} s")
        time.sleep(0.1)
