"""What these tests share: a made-up study, and a browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from debian import need
from made_up import make_groups, make_records, make_train_logs, small_study

__all__ = ["make_groups", "make_records", "make_train_logs", "small_study"]
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium. It closes with its module: while it is open, no event loop can be started beside it."""
    from playwright.sync_api import sync_playwright

    chromium = need("chromium", "chromium")
    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium, headless=True, args=FLAGS)
        yield opened
        opened.close()
