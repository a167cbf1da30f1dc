"""The managed lifetime of a retrieval server: start or attach, stop, status.

`start` returns once the server answers a query, and then publishes the token, which is the DAG's file. The server
lives on as a job of its own. It ends by `stop`, or by itself once its lease is over.
"""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mrsearch.cluster.jobs import Launcher
from mrsearch.cluster.launchers import launcher_of
from mrsearch.cluster.local import LocalLauncher
from mrsearch.cluster.signals import Interrupts, interrupts
from mrsearch.config.load import digest
from mrsearch.config.study import Study
from mrsearch.files import read_json, write_json
from mrsearch.retrieval.endpoint import Endpoint, healthy, read_endpoint
from mrsearch.retrieval.files import ServiceFiles
from mrsearch.retrieval.keeper import pipeline_pid
from mrsearch.retrieval.manifest import FILE as MANIFEST

log = logging.getLogger(__name__)
POLL_SECONDS = 0.1
LOG_LINES = 15
"""Lines of the server's log that an error repeats."""


def start(
    study: Study,
    corpus: Path,
    indexes: Path,
    token: Path,
    launcher: Launcher | None = None,
    holder: int | None = None,
) -> None:
    """Start the study's retrieval server, or attach to the one that serves the same already, and publish `token`.

    Returns once the server has answered a query. If it ends or stays silent for `retrieval.service.start_seconds`, it
    is stopped and RuntimeError names its log; SIGINT and SIGTERM stop it as well and end in Signalled. The lease is
    renewed by searches and while the process `holder` lives (default: the Snakemake run that this call belongs to).
    """
    launcher = launcher or LocalLauncher()
    files = ServiceFiles(token)
    spec = {
        "study": study.model_dump(mode="json"),
        "corpus": str(corpus.absolute()),
        "indexes": str(indexes.absolute()),
    }
    identity = digest(study.retrieval, spec["corpus"], spec["indexes"], *_contents(study, corpus, indexes))
    with _stop_when_interrupted(token) as signals:
        with files.locked(), signals.held():
            job_id = _attach_or_submit(files, spec, identity, launcher)
            _keep_lease(files, holder or pipeline_pid())
        _wait(files, job_id, study.retrieval.service.start_seconds, launcher)
        write_json(files.token, {"live": files.live.name, "job_id": job_id})


def stop(token: Path) -> None:
    """End the server of `token` and remove its files (the log stays); nothing happens where none runs."""
    files = ServiceFiles(token)
    if not files.token.parent.is_dir():
        return
    with files.locked():
        state = read_json(files.state)
        files.lease.unlink(missing_ok=True)
        if state:
            launcher_of(state["job_id"]).cancel(state["job_id"])
            LocalLauncher().cancel(state.get("keeper", ""))
        files.remove()


def gone(token: Path) -> bool:
    """Remove a token whose server does not answer (and nothing else); returns whether that was so."""
    if not token.exists() or healthy(read_endpoint(token)):
        return False
    token.unlink(missing_ok=True)
    log.info("removed the stale token %s", token)
    return True


def status(token: Path) -> dict[str, Any]:
    """Address, health, job and age of the lease in seconds, as far as they exist."""
    files = ServiceFiles(token)
    state, endpoint = read_json(files.state), read_endpoint(files.live)
    return {
        "url": endpoint.url if endpoint else None,
        "boot": endpoint.boot if endpoint else None,
        "healthy": healthy(endpoint),
        "job_id": state["job_id"] if state else None,
        "active": launcher_of(state["job_id"]).active(state["job_id"]) if state else False,
        "lease_age": round(time.time() - files.lease.stat().st_mtime, 1) if files.lease.exists() else None,
        "log": str(files.log),
    }


def _contents(study: Study, corpus: Path, indexes: Path) -> Iterator[str]:
    """What lies in the corpus and in the indexes, so that a rebuilt index is not served by an old server."""
    paths = [corpus / "store.json", *(indexes / name / MANIFEST for name in sorted(study.retrieval.retrievers))]
    for path in paths:
        yield path.read_text(encoding="utf-8") if path.exists() else ""


def _attach_or_submit(files: ServiceFiles, spec: dict[str, Any], identity: str, launcher: Launcher) -> str:
    files.renew()
    state = read_json(files.state)
    if state and launcher_of(state["job_id"]).active(state["job_id"]):
        if state["identity"] == identity:
            log.info("attached to job %s", state["job_id"])
            return str(state["job_id"])
        launcher_of(state["job_id"]).cancel(state["job_id"])
    for old in (files.live, files.log):
        old.unlink(missing_ok=True)
    write_json(files.spec, spec)
    command = [sys.executable, "-m", "mrsearch.retrieval.supervisor", str(files.token)]
    job_id = launcher.submit(command, "retriever", files.log)
    write_json(files.state, {"job_id": job_id, "identity": identity})
    log.info("submitted job %s, log %s", job_id, files.log)
    return job_id


def _keep_lease(files: ServiceFiles, holder: int | None) -> None:
    """Put the keeper of this holder in the place of an earlier one."""
    state = read_json(files.state)
    assert state is not None
    LocalLauncher().cancel(state.get("keeper", ""))
    if holder is not None:
        command = [sys.executable, "-m", "mrsearch.retrieval.keeper", str(files.token), str(holder)]
        write_json(files.state, {**state, "keeper": LocalLauncher().submit(command, "lease keeper", files.log)})


def _wait(files: ServiceFiles, job_id: str, seconds: float, launcher: Launcher) -> Endpoint:
    begun = time.monotonic()
    while True:
        endpoint = read_endpoint(files.live)
        if endpoint is not None and healthy(endpoint):
            return endpoint
        files.renew()
        if launcher.queued(job_id):
            begun = time.monotonic()  # time in the queue does not count
        elif not launcher.active(job_id):
            raise RuntimeError(f"the retriever (job {job_id}) ended before it answered a query\n{_tail(files.log)}")
        if time.monotonic() - begun > seconds:
            raise RuntimeError(
                f"the retriever (job {job_id}) did not answer a query within retrieval.service.start_seconds "
                f"({seconds:g} s)\n{_tail(files.log)}"
            )
        time.sleep(POLL_SECONDS)


def _tail(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    return "\n".join([f"last lines of {path}:", *lines[-LOG_LINES:]])


@contextmanager
def _stop_when_interrupted(token: Path) -> Iterator[Interrupts]:
    """Whatever goes wrong inside, a signal included, leaves no server behind."""
    with interrupts(signal.SIGINT, signal.SIGTERM) as signals:
        try:
            yield signals
        except BaseException:
            stop(token)
            raise
