"""The job that keeps a managed server up: `python -m mrsearch.retrieval.service.supervisor ENDPOINT`.

It restarts a crashed server, and ends with it when the lease is gone or has not been renewed for too long.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from mrsearch.cluster.children import end_child, start_child
from mrsearch.cluster.environments import tools_first
from mrsearch.config.study import Study
from mrsearch.files import read_own_json
from mrsearch.retrieval.service.files import ServiceFiles

log = logging.getLogger(__name__)
MOST_FAILURES = 5
"""Crashes in a row after which the supervisor gives up."""
HOPELESS = 78
"""Exit status of a server that another start would not mend (EX_CONFIG of sysexits.h)."""
STABLE_SECONDS = 60.0
"""A server that lived this long starts a new count of crashes."""
LONGEST_PAUSE = 30.0
END_SECONDS = 40.0
"""How long a server may take to answer what it was asked already."""
POLL_SECONDS = 0.2


def supervise(endpoint_file: Path) -> int:
    """Keep the server of `endpoint_file` up until its lease ends or SIGTERM comes; returns the exit status."""
    files = ServiceFiles(endpoint_file)
    os.environ |= tools_first(os.environ, sys.executable)
    ending: list[int] = []

    def end(signum: int, _: FrameType | None) -> None:
        ending.append(signum)

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, end)
    seconds = Study.model_validate(read_own_json(files.spec)["study"]).retrieval.service.lease_seconds
    failures = 0
    while not ending and files.leased(seconds):
        begun = time.monotonic()
        command = [sys.executable, "-m", "mrsearch.retrieval.service.supervisor", str(endpoint_file), str(os.getpid())]
        server = start_child(command)
        while server.poll() is None and not ending and files.leased(seconds):
            time.sleep(POLL_SECONDS)
        if ending or not files.leased(seconds):
            end_child(server, END_SECONDS)
            break
        failures = 1 if time.monotonic() - begun > STABLE_SECONDS else failures + 1
        log.error("the server ended with status %s, failure %d in a row", server.returncode, failures)
        files.live.unlink(missing_ok=True)
        if failures >= MOST_FAILURES or server.returncode == HOPELESS:
            return 1
        time.sleep(min(LONGEST_PAUSE, 0.25 * 2**failures))
    log.info("ending: %s", f"signal {ending[0]}" if ending else "the lease is over")
    files.live.unlink(missing_ok=True)
    return 0


def _serve(endpoint_file: Path, parent: int) -> None:
    from mrsearch.retrieval.service.process import ManagedServer, let_threads_sleep, serve

    let_threads_sleep()
    files = ServiceFiles(endpoint_file)
    spec = read_own_json(files.spec)
    if not spec:
        raise ValueError(f"{files.spec}: missing: start the retriever with `mrsearch retriever start`")
    study = Study.model_validate(spec["study"])
    serve(study, Path(spec["corpus"]), Path(spec["indexes"]), ManagedServer(files.live, files.lease, parent))


def main(arguments: list[str]) -> int:
    """ENDPOINT supervises; ENDPOINT PARENT is the server that the supervisor starts."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    if len(arguments) == 1:
        return supervise(Path(arguments[0]))
    try:
        _serve(Path(arguments[0]), int(arguments[1]))
    except ValueError as error:
        log.error("%s", error)
        return HOPELESS
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
