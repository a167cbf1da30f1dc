"""Every term of a reward against values computed by hand, over one meta-episode of three episodes."""

from __future__ import annotations

import pytest

from mrsearch.agent.ports import Hit, Passage
from mrsearch.agent.records import ActionKind, Episode, MetaEpisode, Question, StopReason, Turn
from mrsearch.agent.rewards import ScoredMetaEpisode, episode_rewards
from mrsearch.agent.scoring import episode_scores
from mrsearch.config.protocol import Protocol
from mrsearch.config.reward import Reward, RewardTerms
from mrsearch.extensions import REWARD_TERMS

THOUGHT = "<think>so</think>"


def turn(action: str, content: str = "", text: str | None = None, passages: dict[str, str] | None = None) -> Turn:
    said = f"{THOUGHT} <{action}> {content} </{action}>" if text is None else text
    hits = [Hit(Passage(name, "Title", body), 1.0) for name, body in (passages or {}).items()]
    return Turn(0, 1, said, ActionKind(action), content, hits=hits)


def meta_of(*episodes: Episode) -> MetaEpisode:
    return MetaEpisode(
        Question("q", "Whose tower?", ("Gustave Eiffel",)), [], [], [], [], 0, [*episodes], StopReason.answered
    )


@pytest.fixture
def record() -> MetaEpisode:
    """Two searches, an invalid turn and half of the answer; then the first query in the same normal form, one passage
    of two known, and the same answer; then the whole answer without a search or a thought."""
    first = [
        turn("search", "The Tower", passages={"1": "built of iron", "2": "by Gustave Eiffel"}),
        turn("search", "Eiffel", passages={"1": "built of iron", "3": "in Paris"}),
        turn("invalid", text="hm"),
        turn("answer", "Eiffel"),
    ]
    second = [turn("search", "tower!", passages={"3": "in Paris", "4": "a fair"}), turn("answer", "the Eiffel")]
    third = [turn("answer", "Gustave Eiffel", text="<answer> Gustave Eiffel </answer>")]
    return meta_of(
        Episode(first, "Eiffel", StopReason.answered),
        Episode(second, "the Eiffel", StopReason.answered),
        Episode(third, "Gustave Eiffel", StopReason.answered),
    )


BY_HAND = {
    "format": [0, 1, 0],
    "format_when_wrong": [0, 1, 0],
    "searches": [2, 1, 0],
    "invalid_actions": [1, 0, 0],
    "repeated_queries": [0, 1, 0],
    "repeated_passages": [1 / 2, 1 / 2, 0],
    "unsearched_answers": [0, 0, 1],
    "no_answer": [0, 0, 0],
    "repeated_answers": [0, 1, 0],
    "retrieval_hit": [1, 0, 0],
    "improvement": [0, 0, 1],
}


@pytest.mark.parametrize("name", RewardTerms.model_fields)
def test_a_term_by_hand(name: str, record: MetaEpisode) -> None:
    scored = ScoredMetaEpisode(record, episode_scores(record, "em"), Protocol().tags)
    assert REWARD_TERMS.load(name)(scored) == BY_HAND[name]


def test_a_summary_breaks_no_format(record: MetaEpisode) -> None:
    record.episodes[1].turns.append(turn("summary", "iron", text="iron"))
    scored = ScoredMetaEpisode(record, episode_scores(record, "em"), Protocol().tags)
    assert REWARD_TERMS.load("format")(scored) == BY_HAND["format"]


def test_every_weight_has_its_term_and_every_term_its_example() -> None:
    assert [*REWARD_TERMS.built_in] == [*RewardTerms.model_fields] == [*BY_HAND]


def test_without_terms_the_reward_is_the_score(record: MetaEpisode) -> None:
    rewards = episode_rewards(record, Reward(), Protocol())
    assert (rewards.values, rewards.terms) == ([0.0, 0.0, 1.0], {})
    same = episode_rewards(record, Reward(base="f1"), Protocol(scoring="f1"))
    assert (same.values, same.terms) == ([2 / 3, 2 / 3, 1.0], {})


def test_the_score_of_tables_stays_beside_another_base(record: MetaEpisode) -> None:
    rewards = episode_rewards(record, Reward(base="f1"), Protocol())
    assert rewards.values == [2 / 3, 2 / 3, 1.0]
    assert rewards.terms == {"score": [0.0, 0.0, 1.0], "base": [2 / 3, 2 / 3, 1.0]}
    assert episode_rewards(record, Reward(base="sub_em"), Protocol()).values == [0.0, 0.0, 1.0]


def test_terms_are_weighed_in_and_kept_apart(record: MetaEpisode) -> None:
    """0 + 0.2 * 0 - 0.1 * 2; 0 + 0.2 - 0.1; 1."""
    rewards = episode_rewards(record, Reward(terms={"format": 0.2, "searches": -0.1}), Protocol())
    assert rewards.values == pytest.approx([-0.2, 0.1, 1.0])
    assert rewards.terms == {"score": [0, 0, 1], "format": [0, 1, 0], "searches": [2, 1, 0]}


def test_improvement_shapes_as_the_released_scripts_do(record: MetaEpisode) -> None:
    """r + g (r - r before) with g = 0.5, over F1 of 2/3, 2/3, 1."""
    rewards = episode_rewards(record, Reward(base="f1", terms={"improvement": 0.5}), Protocol())
    assert rewards.values == pytest.approx([2 / 3, 2 / 3, 1 + 0.5 / 3])


def test_the_last_episode_carries_the_reward_of_the_whole(record: MetaEpisode) -> None:
    """beta 0.5 of 0, 0, 1; alpha 2 of 1 less 0.25 for the one repeated answer."""
    reward = Reward(each_episode=0.5, last_episode=2.0, last_episode_repetition=0.25)
    rewards = episode_rewards(record, reward, Protocol())
    assert rewards.values == [0.0, 0.0, 0.5 + 2 * 0.75]
    assert rewards.terms == {"score": [0.0, 0.0, 1.0]}


def test_research_counts_the_base_in_the_right_format_alone(record: MetaEpisode) -> None:
    """F1 of 2/3, 2/3, 1, of which only the second episode is well formed; right format and wrong answer: 0.1."""
    reward = Reward(base="f1", base_needs_format=True, terms={"format_when_wrong": 0.1})
    assert episode_rewards(record, reward, Protocol()).values == pytest.approx([0, 2 / 3, 0])
    wrong = meta_of(Episode([turn("answer", "Paris")], "Paris", StopReason.answered))
    assert episode_rewards(wrong, reward, Protocol()).values == [0.1]


@pytest.mark.parametrize(
    "text",
    [
        "<search> q </search>",
        f"{THOUGHT} well <search> q </search>",
        f"{THOUGHT} <search> q </search> and",
        f"{THOUGHT} {THOUGHT} <search> q </search>",
        "<think> <search> p </search> </think> <search> q </search>",
        "<think> so <search> q </search>",
    ],
)
def test_anything_around_the_blocks_is_another_format(text: str) -> None:
    good = turn("search", "q", text=f"\n{THOUGHT}\n<search> q </search>")
    answer = turn("answer", "x")
    values = [
        REWARD_TERMS.load("format")(ScoredMetaEpisode(meta_of(Episode(turns, "x")), [0.0], Protocol().tags))
        for turns in ([good, answer], [turn("search", "q", text=text), answer], [good], [])
    ]
    assert values == [[1.0], [0.0], [0.0], [0.0]]


def test_no_answer_is_neither_repeated_nor_unsearched() -> None:
    silent = meta_of(Episode([turn("invalid", text="hm")]), Episode([turn("invalid", text="hm")]))
    scored = ScoredMetaEpisode(silent, [0.0, 0.0], Protocol().tags)
    assert REWARD_TERMS.load("no_answer")(scored) == [1, 1]
    assert REWARD_TERMS.load("repeated_answers")(scored) == REWARD_TERMS.load("unsearched_answers")(scored) == [0, 0]


def test_the_search_behind_the_first_prompt_can_hit() -> None:
    record = meta_of(Episode([turn("answer", "x")], "x"))
    record.prompt_hits = [Hit(Passage("1", "Gustave Eiffel", "an engineer"), 1.0)]
    scored = ScoredMetaEpisode(record, [0.0], Protocol().tags)
    assert (REWARD_TERMS.load("retrieval_hit")(scored), REWARD_TERMS.load("unsearched_answers")(scored)) == ([1], [0])


def test_no_episode_has_no_reward() -> None:
    reward = Reward(last_episode=1.0, terms=dict.fromkeys(REWARD_TERMS.built_in, 1.0))
    assert episode_rewards(meta_of(), reward, Protocol()).values == []


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"each_episode": 0.0}, "nothing would be rewarded"),
        ({"last_episode_repetition": 0.1}, "set last_episode above 0"),
    ],
)
def test_rewards_of_nothing_are_refused(keys: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Reward(**keys)
