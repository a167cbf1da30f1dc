"""Commands that the workflow itself runs, outside of its jobs."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path


def run_to_the_end(command: Sequence[str], log: Path) -> int:
    """Run a command with its output in `log`; returns its exit status.

    Ctrl-C reaches the command as well, which then clears up after itself. KeyboardInterrupt is raised only after that.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    interrupt: KeyboardInterrupt | None = None
    while True:
        try:
            status = process.wait()
        except KeyboardInterrupt as raised:
            interrupt = raised
            continue
        if interrupt is not None:
            raise interrupt
        return status
