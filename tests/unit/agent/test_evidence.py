"""Which passages an agent had read when it answered, and whether one of them says the answer."""

from __future__ import annotations

from support.transcripts import GOLD, OTHER, transcript

from mrsearch.agent.evidence import is_supported, is_wordless
from mrsearch.agent.records import ActionKind, Episode, MetaEpisode, StopReason, Turn


def two_episodes() -> MetaEpisode:
    """The first reads the passage about Ada and answers Oslo, the second reads the one about Oslo and answers Ada."""
    meta = transcript([("", "search", "a", [GOLD]), ("", "answer", "Oslo", [])])
    later = transcript([("", "search", "b", [OTHER]), ("", "answer", "Ada", [])])
    meta.episodes += later.episodes
    return meta


def test_passages_of_earlier_episodes_were_read_and_those_of_later_ones_not() -> None:
    meta = two_episodes()
    assert [is_supported(meta, number) for number in range(2)] == [False, True]


def test_a_parallel_sample_read_its_own_passages_alone() -> None:
    meta = two_episodes()
    meta.context = "independent"
    assert [is_supported(meta, number) for number in range(2)] == [False, False]
    meta.prompt_hits = meta.episodes[0].turns[0].hits
    assert [is_supported(meta, number) for number in range(2)] == [False, True]


def test_no_answer_is_not_supported() -> None:
    meta = two_episodes()
    meta.episodes.append(Episode([Turn(0, 0, "", ActionKind.invalid, "")], None, StopReason.turn_limit))
    assert not is_supported(meta, 2)


def test_yes_and_no_are_answers_that_no_passage_says() -> None:
    assert [is_wordless(answer) for answer in ("Yes.", "no", "the yes", "yes it is")] == [True, True, True, False]
