"""What all tests share."""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
from support.project import REAL_DATA, ROOT

if importlib.util.find_spec("triton") and not any(importlib.util.find_spec(engine) for engine in ("verl", "vllm")):
    # Triton asks once, when it is imported, whether to interpret; what tests start shall not run kernels that way.
    with pytest.MonkeyPatch.context() as variables:
        variables.setenv("TRITON_INTERPRET", "1")
        importlib.import_module("triton")
SHARING_FOLDERS = ("tests/e2e/", "tests/integration/slurm/")


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's root."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real questions and passages; without it the test is skipped."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"{REAL_DATA} is absent: it holds real questions and passages")
    return REAL_DATA


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In continuous integration a skipped test fails the run: what is not checked may not look checked."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if os.environ.get("CI") and skipped and session.exitstatus == pytest.ExitCode.OK:
        reporter.write_line(f"CI is set and {len(skipped)} tests were skipped: install or provide what they need")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """What one process runs when several share the tests: a file, or a folder whose files share a cluster."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            return next((folder for folder in SHARING_FOLDERS if file.startswith(folder)), file)

    return Scheduling(config, log)
