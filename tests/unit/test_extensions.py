"""Names that installed packages add, and what is said of those that nobody adds."""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from support.installed import install

from mrsearch import extensions
from mrsearch.extensions import RETRIEVERS, Vocabulary

VOCABULARIES = [value for value in vars(extensions).values() if isinstance(value, Vocabulary)]


@pytest.mark.parametrize("vocabulary", VOCABULARIES, ids=lambda vocabulary: vocabulary.name)
def test_every_built_in_name_leads_to_something(vocabulary: Vocabulary) -> None:
    for name in vocabulary.built_in:
        assert vocabulary.load(name) is not None
        assert vocabulary.package(name) is None


def test_an_unknown_name_lists_what_is_known_and_what_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"'bm26' is no kind of retriever: known are dense.*packages add none"):
        RETRIEVERS.load("bm26")
    install(monkeypatch, tmp_path, "names_one", "def one(): ...", "[mrsearch.retrievers]\none = names_one:one\n")
    with pytest.raises(ValueError, match=re.escape("installed packages add one (names-one 0.1.0)")):
        RETRIEVERS.load("bm26")
    assert RETRIEVERS.load("one").__name__ == "one" and RETRIEVERS.package("one") == "names-one 0.1.0"


def test_two_packages_of_one_name_and_what_cannot_be_imported_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = "[mrsearch.retrievers]\nbroken = names_two:Missing\n"
    install(monkeypatch, tmp_path / "a", "names_two", "", points)
    with pytest.raises(ValueError, match=r"'broken' of names-two 0\.1\.0 \(names_two:Missing\) cannot be used: Attrib"):
        RETRIEVERS.load("broken")
    install(monkeypatch, tmp_path / "b", "names_three", "", points)
    with pytest.raises(ValueError, match=r"'broken' is added by names-\w+ 0\.1\.0 and by names-\w+ 0\.1\.0"):
        RETRIEVERS.load("broken")


def test_a_built_in_name_is_not_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, tmp_path, "names_four", "def own(): ...", "[mrsearch.retrievers]\nempty = names_four:own\n")
    assert type(RETRIEVERS.load("empty")).__name__ == "Empty"
    assert EntryPoint("empty", "names_four:own", RETRIEVERS.group) in RETRIEVERS.installed().values()
