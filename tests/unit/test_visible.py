"""What of a text may reach a terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrsearch.visible import JOINERS, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("over\rwritten\b", "over\\rwritten\\x08"),
        ("one\r\ntwo\tthree", "one\ntwo    three"),
        ("\u202eright to left\u2069", "\\u202eright to left\\u2069"),
        ("\u2028\udc80\U000e0041", "\\u2028\\udc80\\U000e0041"),
        ("Ålesund, می\u200cخواهم, 東京, 👩\u200d🔬", "Ålesund, می\u200cخواهم, 東京, 👩\u200d🔬"),
    ],
)
def test_what_steers_a_terminal_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters(codec=None)))
def test_no_control_or_format_is_left(text: str) -> None:
    rest = {unicodedata.category(sign) for sign in printable(text) if sign not in (*JOINERS, "\n")}
    assert rest.isdisjoint({"Cc", "Cf", "Cs", "Zl", "Zp"})


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"])))
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert printable(text) == text
