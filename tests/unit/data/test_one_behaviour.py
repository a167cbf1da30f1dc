"""Files of questions and of passages are read by one set of rules, and refused with the place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mrsearch.agent.questions import read_questions
from mrsearch.config.data import FolderData
from mrsearch.data.corpus import read_corpus
from mrsearch.data.folder import read_folder_questions
from mrsearch.retrieval.indexes.passages import PassageStore, build_store
from mrsearch.unique_ids import refuse_repeated

ROW = {"question": "q", "golden_answers": ["a"], "contents": '"T"\ntext'}
"""A question and a passage at once."""


def stored(path: Path) -> list[str]:
    build_store(read_corpus(path), path.parent / "store")
    return [passage.id for passage in PassageStore(path.parent / "store")]


def of_a_folder(path: Path) -> list[str]:
    data = FolderData(path=str(path.parent), questions="{benchmark}.jsonl")
    return [row["id"] for row in read_folder_questions(data, path.stem)]


READERS: dict[str, Callable[[Path], list[str]]] = {
    "questions": lambda path: [question.id for question in read_questions(path)],
    "questions of a folder": of_a_folder,
    "passages": stored,
}


def lines(*identifiers: Any) -> bytes:
    return b"".join(json.dumps({"id": identifier, **ROW}).encode() + b"\n" for identifier in identifiers)


GOOD = {
    "plain": lines("a", "b"),
    "no last line break": lines("a", "b")[:-1],
    "blank last lines": lines("a", "b") + b"\n \n\t\n\n",
    "blank lines between": b"\n" + lines("a") + b"\n\n" + lines("b"),
    "byte-order mark": b"\xef\xbb\xbf" + lines("a", "b"),
    "mark and blank line": b"\xef\xbb\xbf\n" + lines("a", "b"),
    "line breaks of Windows": lines("a", "b").replace(b"\n", b"\r\n") + b"\r\n",
    "other separators in a text": lines("a", "b").replace(b"text", "te\u2028\u0085xt".encode()),
}
MARK = b"\xef\xbb\xbf"
EMPTY = {"nothing": b"", "blank lines": b"\n \n\r\n", "a mark alone": MARK, "a mark and blanks": MARK + b"\n\n"}
TWICE = {
    "neighbours": (lines("a", "a", "b"), 1, (0, 1)),
    "far apart": (lines("x", *map(str, range(100)), "x"), 1, (0, 101)),
    "three times": (lines("b", "a", "a", "a"), 1, (1, 2)),
    "two of them": (lines("a", "b", "b", "a"), 2, (1, 2)),
    "odd letters": (lines("Köln", "京", "京"), 1, (1, 2)),
    "an empty id": (lines("", "a", ""), 1, (0, 2)),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "nq.jsonl"


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("case", GOOD)
def test_what_only_looks_odd_is_read(reader: str, case: str, path: Path) -> None:
    path.write_bytes(GOOD[case])
    assert READERS[reader](path) == ["a", "b"]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("case", EMPTY)
def test_an_empty_file_is_refused_by_name(reader: str, case: str, path: Path) -> None:
    path.write_bytes(EMPTY[case])
    with pytest.raises(ValueError, match=r"nq\.jsonl: holds no (question|passage|row).*at least one"):
        READERS[reader](path)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "broken",
    [
        b"{",
        b"[]",
        b"3",
        b'{"id": "c"}',
        b"\xff",
        b"\xef\xbb\xbf{}",
        b"[" * 100_000 + b"]" * 100_000,
        b'{"id": "c", "question": "q\\ud800", "golden_answers": ["a"], "contents": "t"}',
        b'{"id": "c", "question": "q", "golden_answers": ["\\udfff"], "contents": "t"}',
        b'{"id": "c", "question": "q", "golden_answers": [' + b"9" * 5000 + b'], "contents": "t"}',
        b'{"id": "c", "question": "q", "golden_answers": [NaN], "contents": "t"}',
    ],
)
def test_a_broken_line_is_refused_with_its_number(reader: str, broken: bytes, path: Path) -> None:
    path.write_bytes(lines("a") + b"\n" + broken + b"\n" + lines("b"))
    with pytest.raises(ValueError, match=r"nq\.jsonl, line 3"):
        READERS[reader](path)


@pytest.mark.parametrize("reader", ["questions", "questions of a folder"])
@pytest.mark.parametrize("key", ["question", "golden_answers"])
@pytest.mark.parametrize("text", ["", " \t", "\u200b\u2060", "\u00a0", "\u0000", "\ufeff"])
def test_a_text_of_which_nothing_can_be_seen_is_refused(reader: str, key: str, text: str, path: Path) -> None:
    row = {"id": "a", **ROW, key: [text] if key == "golden_answers" else text}
    path.write_text(json.dumps(row))
    with pytest.raises(ValueError, match=r"can be seen|no question text|no golden_answers"):
        READERS[reader](path)


@pytest.mark.parametrize("reader", ["questions", "passages"])
@pytest.mark.parametrize("case", TWICE)
def test_an_id_given_twice_is_refused_with_both_places(reader: str, case: str, path: Path) -> None:
    text, count, (one, other) = TWICE[case]
    path.write_bytes(text)
    unit, first = ("passage", 0) if reader == "passages" else ("question", 1)
    places = rf"\({unit} {one + first} and {unit} {other + first}\): ids must be unique"
    with pytest.raises(ValueError, match=rf"{count} ids appear more than once, .*{places}"):
        READERS[reader](path)
    assert [file.name for file in path.parent.iterdir()] == ["nq.jsonl"], "nothing is left of a refused corpus"


def test_ids_that_share_a_hash_are_told_apart(path: Path) -> None:
    class Alike(str):
        def __hash__(self) -> int:
            return 7

    assert build_store([(Alike("a"), "T", "x"), (Alike("b"), "T", "x")], path.parent / "store") == 2
    refuse_repeated([(0, "a"), (1, "b")], "file", "row")
