"""JSON of which nothing is dropped in silence."""

from __future__ import annotations

import pytest

from mrsearch.data.strict_json import parse_json


@pytest.mark.parametrize("text", [b'{"a": {"a": 1}, "b": [{"a": 2}, {"a": 3}]}', b"[1, 2]", b'"x"', b" null "])
def test_json_is_read(text: bytes) -> None:
    assert parse_json(text, "file, line 1") == eval(text.replace(b"null", b"None").strip())


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"{'a': 1}",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": "\\ud800"}',
        b"\xff",
        b"[" * 5000 + b"]" * 5000,
        b"[" * 1000 + b"]" * 1000 + b"]",
    ],
)
def test_what_is_no_json_is_refused_with_its_place(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"^file, line 7: not JSON: "):
        parse_json(text, "file, line 7")


@pytest.mark.parametrize(
    ("text", "key", "times"),
    [
        (b'{"a": 1, "a": 1}', "a", 2),
        (b'{"a": 1, "b": [{"c": 1, "d": 2, "c": 3, "c": 4}]}', "c", 3),
        (b'{"\\u0061": 1, "a": 2}', "a", 2),
        (b'{"": 1, "": 2}', "", 2),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_its_place(text: bytes, key: str, times: int) -> None:
    with pytest.raises(ValueError, match=f"^file, line 7: the key '{key}' stands there {times} times: keep one"):
        parse_json(text, "file, line 7")
