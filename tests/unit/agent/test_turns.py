"""Which turns are abnormal, which are kept, and what each gains, by hand."""

from __future__ import annotations

from mrsearch.agent.beliefs import information_gains, turn_starts
from mrsearch.agent.records import ActionKind, Episode, MetaEpisode, Question, StopReason, Turn
from mrsearch.agent.turns import abnormal_turns, kept_turns, turn_episodes, turn_numbers


def meta_of(*episodes: list[tuple[str, str]], stop: StopReason = StopReason.answered) -> MetaEpisode:
    """A prompt of 2; each turn is two tokens and an observation of one."""
    made, position = [], 2
    for turns in episodes:
        made.append(Episode())
        for action, content in turns:
            made[-1].turns.append(Turn(position, position + 2, "", ActionKind(action), content))
            position += 3
    ids = [0] * position
    return MetaEpisode(Question("q", "?", ("x",)), ids, ids, ids, [0.0] * position, 2, made, stop)


def test_turns_are_counted_through_all_episodes() -> None:
    meta = meta_of([("search", "a"), ("answer", "x")], [("answer", "x")])
    assert turn_episodes(meta) == [0, 0, 1]
    assert turn_numbers(meta) == [-1, -1, 0, 0, -1, 1, 1, -1, 2, 2, -1]
    assert turn_starts(turn_numbers(meta)) == {0: 2, 1: 5, 2: 8}


def test_only_the_fault_and_what_follows_it_in_its_episode_are_kept() -> None:
    first = [("search", "The tower"), ("invalid", ""), ("search", "b"), ("answer", "x")]
    second = [("search", "c"), ("search", "tower!"), ("answer", "x")]
    meta = meta_of(first, second, [("search", "d"), ("answer", "x")])
    assert abnormal_turns(meta) == [False, True, False, False, False, True, False, False, False]
    assert kept_turns(meta) == [0, 1, 1, 1, 0, 1, 1, 1, 1]


def test_of_two_faults_both_are_kept_and_what_lies_between_is_not() -> None:
    meta = meta_of([("search", "a"), ("invalid", ""), ("search", "b"), ("search", "b"), ("answer", "x")])
    assert kept_turns(meta) == [0, 1, 0, 1, 1]


def test_nothing_is_kept_where_the_context_was_full() -> None:
    assert kept_turns(meta_of([("search", "a"), ("invalid", "")], stop=StopReason.context_limit)) == [0, 0]


def test_the_last_turn_of_an_episode_gains_nothing_of_its_own() -> None:
    beliefs = {0: 0.25, 1: 0.5, 2: 0.125, 3: 0.5, 4: 1.0}
    assert information_gains(beliefs, [0, 0, 0, 1, 1]) == [0.25, -0.375, None, 0.5, None]
    del beliefs[1]
    assert information_gains(beliefs, [0, 0, 0, 1, 1]) == [None, None, None, 0.5, None]
    assert information_gains({}, []) == []
