"""The managed lifetime of a retrieval server: start or attach, stop, status.

`start` returns once the server answers a query, and then publishes the endpoint file, the DAG's. The server lives on as
a job of its own. It ends by `stop`, or by itself once its lease is over.
"""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mrsearch.cluster.jobs import Launcher
from mrsearch.cluster.launchers import launcher_of
from mrsearch.cluster.local import LocalLauncher
from mrsearch.cluster.signals import Interrupts, interrupts
from mrsearch.config.load import digest
from mrsearch.config.study import Study
from mrsearch.files import last_lines, read_own_json, write_json
from mrsearch.retrieval.indexes.manifest import FILE as MANIFEST
from mrsearch.retrieval.service.endpoint import Endpoint, healthy, read_endpoint
from mrsearch.retrieval.service.files import ServiceFiles
from mrsearch.retrieval.service.lease import pipeline_pid

log = logging.getLogger(__name__)
POLL_SECONDS = 0.1
NAME, KEEPER = "retriever", "lease keeper"


def start(
    study: Study,
    corpus: Path,
    indexes: Path,
    endpoint_file: Path,
    launcher: Launcher | None = None,
    holder: int | None = None,
    show: Callable[[str], None] = log.info,
    python: Path | None = None,
) -> None:
    """Start the study's retrieval server, or attach to one that serves the same already, and publish `endpoint_file`.

    Returns once the server has answered a query. If it ends or stays silent for `retrieval.service.start_seconds`, it
    is stopped and RuntimeError names its log; SIGINT and SIGTERM stop it as well and end in Signalled. The lease is
    renewed by searches and while the process `holder` lives (default: the Snakemake run that this call belongs to).
    `show` gets the job's state, and why it waits, whenever that changes. python: runs the server; None is this one.
    """
    launcher = launcher or LocalLauncher()
    files = ServiceFiles(endpoint_file)
    spec = {
        "study": study.model_dump(mode="json"),
        "corpus": str(corpus.absolute()),
        "indexes": str(indexes.absolute()),
    }
    identity = digest(study.retrieval, spec["corpus"], spec["indexes"], *_contents(study, corpus, indexes))
    with _stop_when_interrupted(endpoint_file) as signals:
        with files.locked(), signals.uninterrupted():
            job_id = _attach_or_submit(files, spec, identity, launcher, str(python or sys.executable))
            _keep_lease(files, holder or pipeline_pid())
        _wait(files, job_id, study.retrieval.service.start_seconds, launcher, show)
        write_json(files.endpoint_file, {"live": files.live.name, "job_id": job_id})


def stop(endpoint_file: Path) -> None:
    """End the server of `endpoint_file` and remove its files (the log stays); nothing happens where none runs."""
    files = ServiceFiles(endpoint_file)
    if not files.endpoint_file.parent.is_dir():
        return
    with files.locked():
        state = _state(files)
        files.lease.unlink(missing_ok=True)
        if state:
            _end(files, state["job_id"], NAME)
            _end(files, state["keeper"], KEEPER)
        files.remove()


def forget(endpoint_file: Path) -> bool:
    """Remove an endpoint file whose server does not answer (and nothing else); returns whether that was so."""
    if not endpoint_file.exists() or healthy(read_endpoint(endpoint_file)):
        return False
    endpoint_file.unlink(missing_ok=True)
    log.info("removed the stale endpoint file %s", endpoint_file)
    return True


def status(endpoint_file: Path) -> dict[str, Any]:
    """Address, health, job and age of the lease in seconds, as far as they exist."""
    files = ServiceFiles(endpoint_file)
    state, endpoint = _state(files), read_endpoint(files.live)
    return {
        "url": endpoint.url if endpoint else None,
        "boot": endpoint.boot if endpoint else None,
        "healthy": healthy(endpoint),
        "job_id": state["job_id"] if state else None,
        "active": _runs(files, state["job_id"]) if state else False,
        "lease_age": round(time.time() - files.lease.stat().st_mtime, 1) if files.lease.exists() else None,
        "log": str(files.log),
    }


def _contents(study: Study, corpus: Path, indexes: Path) -> Iterator[str]:
    """What lies in the corpus and in the indexes, so that a rebuilt index is not served by an old server."""
    paths = [corpus / "store.json", *(indexes / name / MANIFEST for name in sorted(study.retrieval.retrievers))]
    for path in paths:
        yield path.read_text(encoding="utf-8") if path.exists() else ""


def _attach_or_submit(files: ServiceFiles, spec: dict[str, Any], identity: str, launcher: Launcher, python: str) -> str:
    files.renew()
    state = _state(files)
    if state and _runs(files, state["job_id"]):
        if state["identity"] == identity:
            log.info("attached to job %s", state["job_id"])
            return str(state["job_id"])
        _end(files, state["job_id"], NAME)
    for old in (files.live, files.log):
        old.unlink(missing_ok=True)
    write_json(files.spec, spec)
    command = [python, "-m", "mrsearch.retrieval.service.supervisor", str(files.endpoint_file)]
    job_id = launcher.submit(command, NAME, files.log)
    write_json(files.state, {"job_id": job_id, "identity": identity})
    log.info("submitted job %s, log %s", job_id, files.log)
    return job_id


def _state(files: ServiceFiles) -> dict[str, str]:
    """Job, keeper and what they serve; empty texts where a state file of this user names none."""
    state = read_own_json(files.state)
    if not isinstance(state.get("job_id"), str):
        return {}
    return {key: str(state.get(key) or "") for key in ("job_id", "identity", "keeper")}


def _runs(files: ServiceFiles, job_id: str) -> bool:
    launcher = launcher_of(job_id)
    return launcher.owns(job_id, NAME, files.log) and launcher.active(job_id)


def _end(files: ServiceFiles, job_id: str, name: str) -> None:
    """End what a state file names, if it is what was started for these files."""
    launcher = launcher_of(job_id) if job_id else LocalLauncher()
    if launcher.owns(job_id, name, files.log):
        launcher.cancel(job_id)


def _keep_lease(files: ServiceFiles, holder: int | None) -> None:
    """Put the keeper of this holder in the place of an earlier one."""
    state = _state(files)
    assert state, "the job was submitted or attached to before its lease is kept"
    _end(files, state["keeper"], KEEPER)
    if holder is not None:
        command = [sys.executable, "-m", "mrsearch.retrieval.service.lease", str(files.endpoint_file), str(holder)]
        write_json(files.state, {**state, "keeper": LocalLauncher().submit(command, KEEPER, files.log)})


def _wait(
    files: ServiceFiles, job_id: str, seconds: float, launcher: Launcher, show: Callable[[str], None]
) -> Endpoint:
    begun, shown = time.monotonic(), ""
    while True:
        if (state := launcher.describe(job_id)) != shown:
            show(f"retriever: job {job_id} is {state}")
            shown = state
        endpoint = read_endpoint(files.live)
        if endpoint is not None and healthy(endpoint):
            return endpoint
        files.renew()
        if launcher.queued(job_id):
            begun = time.monotonic()  # time in the queue does not count
        elif not launcher.active(job_id):
            raise RuntimeError(
                f"the retriever (job {job_id}) ended before it answered a query\n{last_lines(files.log)}"
            )
        if time.monotonic() - begun > seconds:
            where = f"at {endpoint.url}, where it announced itself," if endpoint else "(it announced no address)"
            raise RuntimeError(
                f"the retriever (job {job_id}) did not answer a query {where} within retrieval.service.start_seconds "
                f"({seconds:g} s)\n{last_lines(files.log)}"
            )
        time.sleep(POLL_SECONDS)


@contextmanager
def _stop_when_interrupted(endpoint_file: Path) -> Iterator[Interrupts]:
    """Whatever goes wrong inside, a signal included, leaves no server behind."""
    with interrupts(signal.SIGINT, signal.SIGTERM) as signals:
        try:
            yield signals
        except BaseException:
            stop(endpoint_file)
            raise
