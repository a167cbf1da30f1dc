"""What these tests share: a made-up study, a browser, and signals as at a terminal."""

import signal

import pytest
from support.chromium import browser
from support.made_up import make_groups, make_records, make_train_logs, small_study

__all__ = ["browser", "make_groups", "make_records", "make_train_logs", "small_study"]


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """What is started in the background ignores SIGINT, and so would everything that the tests start and interrupt."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
