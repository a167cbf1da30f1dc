"""Commands as words, and those that the workflow itself runs, outside of its jobs."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def option_words(options: Mapping[str, object]) -> list[str]:
    """The options of a command, by their names in Python; those that are None are left out, and one whose value is a
    list is given once for each of its values."""
    values = {name: value if isinstance(value, list) else [value] for name, value in options.items()}
    return [f"--{name.replace('_', '-')}={value}" for name in values for value in values[name] if value is not None]


def run_to_the_end(command: Sequence[str], log: Path) -> int:
    """Run a command with its messages in `log` and what it prints on this terminal; returns its exit status.

    Ctrl-C reaches the command as well, which then clears up after itself. KeyboardInterrupt is raised only after that.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        process = subprocess.Popen(command, stderr=output)
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
