"""Child processes that do not outlive the process that started them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

SET_PARENT_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of prctl(2)."""


def ended_with_parent(by: signal.Signals) -> Callable[[], None] | None:
    """A `preexec_fn`: Linux sends the child `by` when its parent ends, however it ends; None on other systems."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(SET_PARENT_DEATH_SIGNAL, by)


def start_child(command: Sequence[str], by: signal.Signals = signal.SIGTERM, **options: Any) -> subprocess.Popen[bytes]:
    """A process that gets the signal `by` when this one ends; `options` are Popen's."""
    return subprocess.Popen(command, preexec_fn=ended_with_parent(by), **options)


def end_child(process: subprocess.Popen[bytes], seconds: float, group: bool = False) -> None:
    """End a process: first with a request, after `seconds` by force. With `group`, all of its process group, which
    may outlive its leader."""
    for signum in (signal.SIGTERM, signal.SIGKILL):
        if group:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signum)
        elif process.poll() is None:
            process.send_signal(signum)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
