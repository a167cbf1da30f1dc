"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
REAL_DATA = ROOT.parent / "shared" / "data" / "real"


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
