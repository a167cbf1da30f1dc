"""What the pages say of the code and of the shipped studies, where a test can know it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.project import ROOT
from unit.test_rooms import FLOORS

SOURCE = ROOT / "src" / "mrsearch"
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "config" / "README.md", ROOT / "README.md"]


def test_every_shipped_study_is_listed():
    shipped = {path.stem for path in (ROOT / "config" / "studies").glob("*.yaml")}
    listed = (ROOT / "config" / "README.md").read_text(encoding="utf-8").partition("Shipped studies:")[2]
    assert set(re.findall(r"^\| `([\w-]+)` \|", listed.partition("<!--")[0], re.MULTILINE)) == shipped


def test_every_room_is_in_the_table_of_rooms():
    page = (ROOT / "docs" / "development.md").read_text(encoding="utf-8")
    rooms = {
        word for line in re.findall(r"^\| \d \| (.*?) \|", page, re.MULTILINE) for word in re.findall(r"`(\w+)`", line)
    }
    assert rooms == {name for name in FLOORS if "." not in name}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_modules_that_pages_name_are_there(page: Path):
    named = re.findall(
        r"`((?:src/mrsearch/)?(?:[a-z_0-9]+/)+[a-z_0-9]+\.(?:py|yaml))`", page.read_text(encoding="utf-8")
    )
    places = (ROOT, SOURCE, page.parent)
    assert not [name for name in named if not any((place / name).exists() for place in places)]


def test_a_word_is_defined_once():
    page = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
    words = [word for line in re.findall(r"^\| (.*?) \|", page, re.MULTILINE) for word in line.split(", ")]
    words = [word for word in words if word not in ("word", "---")]
    assert len(set(words)) == len(words)
    assert {
        "meta-episode",
        "record",
        "row",
        "sequence",
        "demonstration",
        "chunk",
        "endpoint file",
        "mark",
        "cell",
    } <= set(words)
    assert "-1" not in page
