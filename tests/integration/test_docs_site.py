"""The documentation site: built strictly, and looked at in a browser without network."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.chromium import offline_page

pytestmark = pytest.mark.integration
PAGES = (
    "index",
    "records",
    "troubleshooting",
    "wandb",
    "offline",
    "concepts",
    "algorithm",
    "results",
    "reading",
    "workflow",
    "reference/config",
    "reference/cli",
)


@pytest.fixture(scope="module")
def site(root: Path) -> Path:
    """The site that `make docs` builds; its environment is installed from the package index where it is missing."""
    if not (root / ".venv" / "bin" / "python").exists():
        pytest.skip("make docs needs .venv, which `make demo` or `make test` install")
    command = ["make", "--old-file=.venv/installed", "docs"]
    done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:]
    return root / "build" / "site"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_without_network_and_fits_a_phone(browser: Any, site: Path, name: str) -> None:
    page = offline_page(browser, (site / f"{name}.html").as_uri(), viewport={"width": 400, "height": 800})
    page.wait_for_selector("article h1")
    assert page.evaluate("document.documentElement.scrollWidth") <= 410
    assert page.problems == []
    page.context.close()


def test_the_algorithm_shows_equations_and_their_lines(browser: Any, site: Path) -> None:
    page = offline_page(browser, (site / "algorithm.html").as_uri())
    assert page.locator("math[display=block]").count() >= 4
    assert page.locator("pre:has-text('def leave_one_out(')").count() == 1
    assert "$" not in page.locator("article p").all_inner_texts()
    assert page.problems == []
    page.context.close()


def test_search_works_from_disk(browser: Any, site: Path) -> None:
    page = offline_page(browser, (site / "index.html").as_uri())
    page.fill("input.md-search__input", "leave-one-out")
    page.wait_for_selector("a.md-search-result__link[href*='algorithm.html']")
    assert page.problems == []
    page.context.close()


@pytest.mark.parametrize("name", ["index", "results", "records", "studies"])
def test_no_table_is_cut_off_on_a_laptop(browser: Any, site: Path, name: str) -> None:
    page = offline_page(browser, (site / f"{name}.html").as_uri(), viewport={"width": 1280, "height": 800})
    page.wait_for_selector("article h1")
    widths = "[...document.querySelectorAll('.md-typeset__scrollwrap')].map(e => e.scrollWidth - e.clientWidth)"
    assert max(page.evaluate(widths), default=0) <= 0
    page.context.close()
