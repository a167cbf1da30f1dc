"""A rehearsal as a job of its own, with the resources of the study's trainings on one node."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from mrsearch.cluster.launchers import managed_launcher
from mrsearch.cluster.managed import ManagedJob, Show
from mrsearch.config import Study
from mrsearch.files import read_json
from mrsearch.rehearsal.links import Rehearsal


def submit_rehearsal(
    study: Study, rehearsal: Rehearsal, arguments: Sequence[str], scheduler: str, site: Path, show: Show
) -> None:
    """Run `mrsearch rehearse ARGUMENTS` as a job and show its lines as they come; JobFailed where a link failed."""
    command = [sys.executable, "-m", "mrsearch.cli", "rehearse", *arguments]
    log = rehearsal.result.with_name("rehearsal.log")
    rehearsal.result.unlink(missing_ok=True)
    job = ManagedJob(command, f"rehearse-{study.name}", log, [rehearsal.result])
    lines = _NewLines(log)
    job.run(managed_launcher(scheduler, site, "train", rehearsal.study.resources.train), show, lines)
    if last := lines():
        show(last)
    result = read_json(rehearsal.result)
    if result is None or not result["held"]:
        raise ValueError(f"a link of the rehearsal failed: {log}")


class _NewLines:
    """Called often, returns what was appended to a file since the last call, None where nothing was."""

    def __init__(self, path: Path) -> None:
        self._path, self._shown = path, 0

    def __call__(self) -> str | None:
        if not self._path.is_file():
            return None
        lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        new, self._shown = lines[self._shown :], len(lines)
        return "\n".join(new) or None
