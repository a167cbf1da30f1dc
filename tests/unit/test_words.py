"""One word per concept: words that were replaced stand nowhere a reader looks, but in the table of renamings."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.project import ROOT

from mrsearch.config import renamed

SHARED_WORDS = {"turns", "traces", "engine", "own", "answers", "script", "rejection", "prompt_tokens"}
"""Old keys that are also ordinary words, or the viewer's own."""
OLD = {
    *(old for keys in renamed.KEYS.values() for old in keys),
    *(old for values in renamed.VALUES.values() for old in values),
} - SHARED_WORDS
PHRASES = (
    "evaluation.engine",
    "train --print-config",
    "retriever gone",
    "data missing",
    "index needs",
    "index report",
    "Outside the mean",
    "trained rivals",
    "algorithm: rejection",
    "demonstrations: own",
    "demonstrations: answers",
    "train_method(study",
)
EMPTY_NAMES = frozenset(
    """anything asked both chosen each everything found given gone got had held here it kept known left made meant mine
    named needed nothing one ones other others ours own part parts place places rest said same some something taken that
    theirs them there these they this those told wanted what which who whole whose""".split()  # noqa: SIM905
)
"""Pronouns, and what came about how: they say nothing of what a name holds."""
OPERANDS = ("footprint.py",)
"""Files with an operator, whose second operand is `other` by Python's own custom."""
FOLDERS = ("benchmarks", "config", "docs", "envs", "profile", "rules", "src", "workflow")
SUFFIXES = {".py", ".md", ".smk", ".yaml", ".rst", ".json", ".js", ".html"}
ALLOWED = {"CHANGELOG.md", "src/mrsearch/config/renamed.py"}


def readable() -> list[Path]:
    paths = [path for path in ROOT.iterdir() if path.is_file()]
    for name in FOLDERS:
        paths += [path for path in (ROOT / name).rglob("*") if path.is_file()]
    names = [path.relative_to(ROOT).as_posix() for path in sorted(paths) if path.suffix in SUFFIXES]
    return [ROOT / name for name in names if name not in ALLOWED]


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in readable()}


@pytest.mark.parametrize("word", sorted(OLD))
def test_an_old_key_stands_nowhere(word: str, texts: dict[str, str]) -> None:
    assert [name for name, text in texts.items() if re.search(rf"\b{word}\b", text)] == []


@pytest.mark.parametrize("phrase", PHRASES)
def test_an_old_phrase_stands_nowhere(phrase: str, texts: dict[str, str]) -> None:
    assert [name for name, text in texts.items() if phrase in text] == []


def bindings(path: Path) -> Iterator[tuple[str, int]]:
    """Names that a file gives to values, functions and classes, with their lines."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node.lineno
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name, node.lineno


def empty_names(folder: Path) -> list[str]:
    return [
        f"{path.relative_to(folder)}:{line}: {name}"
        for path in sorted(folder.rglob("*.py"))
        for name, line in bindings(path)
        if name.lower().strip("_") in EMPTY_NAMES and not (name == "other" and path.name in OPERANDS)
    ]


def test_names_say_what_they_hold() -> None:
    assert empty_names(ROOT / "src") == []


@pytest.mark.parametrize(
    "text",
    [
        "found = 1",
        "def f(own): ...",
        "def _part(): ...",
        "self.asked = 1",
        "for each in x: ...",
        "x = [this for this in y]",
    ],
)
def test_an_empty_name_is_seen_wherever_it_is_bound(text: str, tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(text)
    assert len(empty_names(tmp_path)) == 1


def test_no_two_classes_have_one_name() -> None:
    homes: dict[str, list[str]] = {}
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name.lstrip("_"), []).append(path.relative_to(ROOT).as_posix())
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


def test_the_changelog_lists_every_renaming() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    renamings = [*renamed.KEYS.items(), *((key, values) for (_, key), values in renamed.VALUES.items())]
    absent = [(old, new) for _, names in renamings for old, new in names.items() if f"`{old}`" not in text]
    assert absent == []
