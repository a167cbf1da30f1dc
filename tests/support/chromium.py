"""Debian's Chromium for tests, which a conftest gives to its tests by importing the fixture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.debian import need

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One browser for a module. It closes with it: while it is open, no event loop can be started beside it."""
    from playwright.sync_api import sync_playwright

    chromium = need("chromium", "chromium")
    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium, headless=True, args=FLAGS)
        yield opened
        opened.close()


def offline_page(browser: Any, address: str, **context: Any) -> Any:
    """A page without network. `page.problems` collects errors and every request for something outside of the page."""
    page = browser.new_context(offline=True, **context).new_page()
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda message: page.problems.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: None if _inside(request.url) else page.problems.append(request.url))
    page.goto(address)
    return page


def _inside(url: str) -> bool:
    return url.startswith(("file:", "data:", "blob:"))
