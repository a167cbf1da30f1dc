"""Who listens at a port of this machine."""

from __future__ import annotations

import contextlib
import os

import psutil


def listens(session: int, port: int) -> bool:
    """Whether a process of this session listens at the port; another's, even of another user, does not count."""
    return any(port in _ports(process) for process in _members(session))


def _members(session: int) -> list[psutil.Process]:
    members = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getsid(process.pid) == session:
                members.append(process)
    return members


def _ports(process: psutil.Process) -> set[int]:
    """Ports at which a process listens; none where it may not be looked at."""
    with contextlib.suppress(psutil.Error, OSError):
        return {
            connection.laddr.port
            for connection in process.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
    return set()
