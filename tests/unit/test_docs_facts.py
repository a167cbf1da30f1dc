"""What the pages say of the code and of the shipped studies, where a test can know it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from support.project import ROOT
from unit.test_rooms import FLOORS

from mrsearch.config.methods import Method, Procedure
from mrsearch.config.reward import RewardTerms
from mrsearch.config.training import Train

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


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("`procedure`", get_args(Procedure)),
        ("`demonstrations`", get_args(Train.model_fields["demonstrations"].annotation)),
        ("term", RewardTerms.model_fields),
    ],
)
def test_the_page_of_methods_has_every_name(header, names):
    assert set(first_cells(header)) == set(names)


def test_the_page_of_methods_has_keys_of_methods_alone():
    keys = {cell.partition(":")[0] for cell in first_cells("key")}
    assert len(keys) > 5 and keys <= set(Method.model_fields)


def first_cells(header):
    """What stands in code in the first column of the table with this header on the page of methods."""
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    table = page.partition(f"\n| {header} |")[2].partition("\n\n")[0]
    return re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
