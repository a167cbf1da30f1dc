"""Health of reasoning on ten hand-made transcripts, healthy and degenerate, with shares computed by hand."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from support.transcripts import DEGENERATE, GOLD, HEALTHY, transcript

from mrsearch.agent.reasoning import ReasoningCounts, reasoning_shares
from mrsearch.agent.record_lines import from_line, to_line
from mrsearch.config.wording import TagPair, Tags

NOTHING = {
    "malformed_thinking": 0.0,
    "empty_thinking": 0.0,
    "repeated_ngrams": 0.0,
    "non_latin": 0.0,
    "repeated_queries": 0.0,
    "needless_searches": 0.0,
    "unsupported_answers": 0.0,
}
EXPECTED = {
    "one search": NOTHING | {"thinking_characters": (17 + 20) / 2, "informed_searches": 1.0},
    "two hops": NOTHING | {"thinking_characters": (10 + 20 + 11) / 3, "informed_searches": 0.5},
    "yes and no": NOTHING | {"thinking_characters": (17 + 12) / 2, "informed_searches": 0.0},
    "unclosed": NOTHING | {"malformed_thinking": 0.5, "thinking_characters": 2.0, "informed_searches": 1.0},
    "empty": NOTHING | {"empty_thinking": 1.0, "thinking_characters": 0.0, "informed_searches": 1.0},
    "loop": NOTHING | {"thinking_characters": (62 + 1) / 2, "repeated_ngrams": 7 / 17, "informed_searches": 1.0},
    "same query": NOTHING | {"thinking_characters": 1.0, "informed_searches": 0.0, "repeated_queries": 2 / 3},
    "searches on": NOTHING | {"thinking_characters": 1.0, "informed_searches": 1.0, "needless_searches": 2 / 3},
    "made up": NOTHING | {"thinking_characters": 2.0, "informed_searches": 0.0, "unsupported_answers": 1.0},
    "other script": NOTHING | {"thinking_characters": 4.0, "non_latin": 8 / 41, "informed_searches": 1.0},
}


@pytest.mark.parametrize("name", EXPECTED)
def test_shares_of_a_transcript_are_those_computed_by_hand(name: str) -> None:
    meta = transcript((HEALTHY | DEGENERATE)[name])
    assert reasoning_shares([ReasoningCounts.of(meta, Tags())]) == pytest.approx(EXPECTED[name])


def test_a_recorded_transcript_counts_as_it_did_when_it_was_made() -> None:
    for turns in (HEALTHY | DEGENERATE).values():
        meta = transcript(turns)
        counts = ReasoningCounts.of(meta, Tags())
        assert ReasoningCounts.of(from_line(to_line(meta)), Tags()) == counts == ReasoningCounts(**asdict(counts))


def test_counts_of_many_add_up_before_a_share_is_taken() -> None:
    """One repeated query of one search, and two of three: 2 of 4, not the mean of two shares."""
    metas = [transcript(turns) for turns in (HEALTHY["one search"], DEGENERATE["same query"])]
    shares = reasoning_shares(ReasoningCounts.of(meta, Tags()) for meta in metas)
    assert (shares["repeated_queries"], shares["informed_searches"]) == (2 / 4, 1 / 4)
    assert set(reasoning_shares([]).values()) == {0.0}


def test_a_method_that_does_not_search_has_no_shares_of_searches() -> None:
    shares = reasoning_shares([ReasoningCounts.of(transcript(HEALTHY["one search"]), Tags())], searches=False)
    assert set(shares) == {
        "malformed_thinking",
        "empty_thinking",
        "thinking_characters",
        "repeated_ngrams",
        "non_latin",
    }


def test_tags_are_those_of_the_protocol() -> None:
    tags = Tags(think=TagPair(open="<reason>", close="</reason>"))
    meta = transcript([("<reason> </reason> <answer> Ada </answer>", "answer", "Ada", [GOLD])])
    assert ReasoningCounts.of(meta, tags).empty_thinking == 1
    assert ReasoningCounts.of(meta, Tags()).empty_thinking == 0


def test_a_passage_behind_the_first_prompt_counts_as_read() -> None:
    meta = transcript([("<answer> Ada </answer>", "answer", "Ada", [])])
    assert ReasoningCounts.of(meta, Tags()).unsupported_answers == 1
    meta.prompt_hits = transcript([("", "search", "q", [GOLD])]).episodes[0].turns[0].hits
    assert ReasoningCounts.of(meta, Tags()).unsupported_answers == 0
