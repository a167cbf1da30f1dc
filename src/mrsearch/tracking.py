"""Trainings and evaluations in Weights & Biases: online where there is a key, in files otherwise."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from mrsearch.config.layout import StudyFolder
from mrsearch.files import write_text

if TYPE_CHECKING:
    import wandb

log = logging.getLogger(__name__)

PROJECT = "mrsearch"
ID_FILE = "wandb-id"
_GROUP_LENGTH, _TAG_LENGTH = 128, 64
"""The longest group and tag that the service takes."""


class Tracker:
    """Reports one training or evaluation, and never disturbs it: the first error is logged, and reporting is off from
    then on.

    The environment decides where to: `WANDB_MODE` if it is set, else online where `WANDB_API_KEY` is set, else offline,
    without any network. `mrsearch wandb-sync` uploads offline files later, and joins those of a restarted
    training by their id.
    """

    def __init__(self, run: wandb.Run | None, run_id: str | None) -> None:
        self.run_id = run_id
        """Id of the run; None where reporting is off from the start."""
        self._run = run
        self._failed = False
        """An error turned reporting off; the run is still open and ended by `finish`."""

    @classmethod
    def start(
        cls,
        study_name: str,
        model: str,
        method: str,
        seed: int,
        config: Mapping[str, Any],
        directory: Path,
        *,
        job_type: str = "train",
        group: str | None = None,
    ) -> Tracker:
        """Begin reporting, or go on with the run that `directory` holds already for the same configuration.

        Runs are named and tagged down to the seed, and grouped by study, model and method where `group` names no other.
        """
        names = [study_name, model, method, f"seed{seed}"]
        described = {"model": model, "method": method, "seed": seed, "study": dict(config)}
        try:
            run_id = _run_id(names, described, directory)
            run = _init(names, run_id, described, directory, job_type, group or "/".join(names[:3]))
        except Exception as error:
            log.warning("W&B is off for this run: %s", error)
            return cls(None, None)
        log.info("W&B run %s: %s", run_id, run.dir if run.offline else run.url)
        return cls(run, run_id)

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Report the metrics of one step; a list becomes one curve per position: reward -> reward/1, reward/2, ..."""
        if (run := self._reporting()) is not None:
            self._guard(lambda: run.log(_flat(metrics), step=step))

    def table(self, step: int, name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Report a table at a step."""
        if (run := self._reporting()) is not None:
            data: list[Iterable[Any]] = [list(row) for row in rows]

            def report() -> None:
                import wandb

                run.log({name: wandb.Table(columns=list(columns), data=data)}, step=step)

            self._guard(report)

    def reference(self, name: str, kind: str, paths: Iterable[Path]) -> None:
        """Report files and folders as an artifact that refers to where they lie, with their hashes; none is copied."""
        if (run := self._reporting()) is not None:

            def report() -> None:
                import wandb

                artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", name), type=kind)
                for path in paths:
                    artifact.add_reference(path.resolve().as_uri(), name=f"{path.parent.name}/{path.name}")
                run.log_artifact(artifact)

            self._guard(report)

    def finish(self, failed: bool = False) -> None:
        """End the run and write out what is buffered; a second call does nothing."""
        run, self._run = self._run, None
        if run is not None:
            # Also after an error: wandb hands a run that is left open to whoever starts the next one in this process.
            self._guard(lambda: _end(run, int(failed)))

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, demonstration: TracebackType | None
    ) -> None:
        self.finish(failed=kind is not None)

    def _reporting(self) -> wandb.Run | None:
        return None if self._failed else self._run

    def _guard(self, action: Any) -> None:
        try:
            action()
        except Exception as error:
            self._failed = True
            log.warning("W&B is off from here on: %s", error)


def _init(
    names: list[str], run_id: str, config: dict[str, Any], directory: Path, job_type: str, group: str
) -> wandb.Run:
    mode: Any = os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_API_KEY") else "offline")
    if mode != "online":
        # wandb reads this when it is imported: without it, a crash inside wandb would be reported over the network.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    arguments: dict[str, Any] = {
        "project": os.environ.get("WANDB_PROJECT", PROJECT),
        "id": run_id,
        "group": os.environ.get("WANDB_RUN_GROUP") or group[:_GROUP_LENGTH],
        "name": "/".join(names),
        "job_type": job_type,
        "tags": list(dict.fromkeys(name[:_TAG_LENGTH] for name in names)),
        "config": config,
        "dir": str(directory),
        "resume": "allow" if mode == "online" else None,
        # The trainer owns the terminal and the reports of its own logging.
        "settings": wandb.Settings(console="off", silent=True, save_code=False, disable_job_creation=True),
    }
    try:
        return wandb.init(mode=mode, **arguments)
    except Exception as error:
        if mode != "online":
            raise
        log.warning("W&B cannot be reached, its files stay here until `wandb sync`: %s", error)
        # The service process still holds the run that failed, under the same id.
        wandb.teardown()
        return wandb.init(mode="offline", **{**arguments, "resume": None})


def upload(root: Path) -> int:
    """Upload every offline run below `root`, a study's folder of results, by wandb's own sync; its exit code. Runs that
    were uploaded are passed over. ValueError where there is neither run nor evaluation."""
    folder = StudyFolder(root)
    runs = folder.tracked_runs()
    waiting = [run for run in runs if not list(run.glob("*.synced"))]
    if not (runs or any(folder.evaluated())):
        raise ValueError(f"{root}: holds no offline run of W&B: train something first, or name the run's --results")
    if not waiting:
        return 0
    command = [sys.executable, "-m", "wandb", "sync", "--yes", *map(str, waiting)]
    return subprocess.run(command, check=False).returncode


def _end(run: wandb.Run, exit_code: int) -> None:
    import wandb

    run.finish(exit_code=exit_code)
    # finish() returns while the service process still writes; teardown() returns when that process is done.
    wandb.teardown(exit_code)


def _run_id(names: list[str], config: dict[str, Any], directory: Path) -> str:
    """The id kept in `directory` if it belongs to these names and this configuration, else a new one, kept there.

    A hash of both, so that a restart finds its run, and a random part, so that a training begun anew elsewhere or after
    a clean-up does not write into the finished run of its predecessor.
    """
    digest = hashlib.sha256(json.dumps([names, config], sort_keys=True, default=str).encode()).hexdigest()[:12]
    path = directory / ID_FILE
    previous = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
    if previous.startswith(f"{digest}-"):
        return previous
    run_id = f"{digest}-{secrets.token_hex(4)}"
    write_text(path, run_id + "\n")
    return run_id


def _flat(metrics: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in metrics.items():
        if isinstance(value, list | tuple):
            flat |= {f"{name}/{position}": item for position, item in enumerate(value, 1)}
        else:
            flat[name] = value
    return flat
