"""A single recorded output, from which wording that no other record shares has to be told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mrsearch.agent.recordings.check import Check, check_records
from mrsearch.agent.recordings.file import Columns, Recorded, read_recorded
from mrsearch.config.protocol import Protocol

PROMPT = "Think in <think> </think>, search in <search> </search>, end in <answer> </answer>. Question: where is it?\n"
OBSERVED = (
    '\n\n<information>Doc 1(Title: "Köln") It lies on the Rhine.\nDoc 2(Title: "Bonn") So does this.</information>\n\n'
)
RESPONSE = (
    "<think> hm </search>\nThat was no action: write a query between <search> and </search>.\n"
    f"<search> the place </search>{OBSERVED}<answer> Köln </answer>"
)


def checked(response: str) -> Check:
    return check_records([Recorded("one", PROMPT, response, "where is it")], Protocol(preset="search_r1"), None)


@pytest.mark.parametrize(
    "response",
    [
        RESPONSE,
        "no tag at all",
        RESPONSE.replace('"Köln"', "Köln"),
        RESPONSE.replace("Köln </answer>", "Köln\u00a0</answer>"),
        f"<search> q </search>{OBSERVED}<answer></answer>",
    ],
)
def test_what_the_protocol_would_have_sent_is_exact_and_each_unshown_key_has_a_reason(response: str) -> None:
    verdict = checked(response)
    assert [result.difference for result in verdict.results] == [None]
    assert verdict.unshown and all(unshown.reason for unshown in verdict.unshown)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("\n", "\r\n", "observation_format"),
        ("<information>Doc", "<information>\nDoc", "observation_format"),
        ("</information>\n\n", "</information>\n", "observation_format"),
        ("information>", "result>", None),
        ("Doc 1(", "Document 1(", None),
    ],
)
def test_a_hint_that_one_record_has_does_not_hide_the_observation_after_it(old: str, new: str, key: str | None) -> None:
    (result,) = checked(RESPONSE.replace(old, new)).results
    assert result.difference is not None
    assert key in (None, result.difference.key)


@pytest.mark.parametrize("broken", ["[" * 100_000, "[1]", "3", "null", '{"prompt": "\\ud800"}', '{"prompt": "p"}'])
def test_a_row_that_is_no_record_is_refused_with_its_line(broken: str, tmp_path: Path) -> None:
    path = tmp_path / "outputs.jsonl"
    row = json.dumps({"prompt": PROMPT, "response": RESPONSE, "question": "where is it"})
    path.write_bytes(b"\xef\xbb\xbf" + f"{row}\n\n{broken}\n".encode())
    with pytest.raises(ValueError, match="line 3"):
        read_recorded(path, Columns())
    path.write_bytes(b"\xef\xbb\xbf" + row.encode())
    assert [record.response for record in read_recorded(path, Columns())] == [RESPONSE]
