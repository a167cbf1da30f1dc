"""Records to scores: what an answer counts for, in every episode and way of choosing one."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrsearch.agent import scoring
from mrsearch.agent.ports import Hit, Passage
from mrsearch.agent.records import ActionKind, Episode, MetaEpisode, Question, StopReason, Turn
from mrsearch.evaluation.choices import by_count, last_valid, vote
from mrsearch.evaluation.scores import TRANSITIONS, score_record, score_row, transitions

WORDS = st.lists(st.sampled_from(["the", "a", "Paris", "city", "of", "-", "light", "1,000"]), max_size=4).map(" ".join)


def make_record(*answers: str | None, golds: tuple[str, ...] = ("yes",)) -> MetaEpisode:
    episodes = [Episode([], answer, StopReason.answered) for answer in answers]
    record = MetaEpisode(
        Question("q", "?", golds), [1, 2], [0, 1], [0, 0], [0.0, 0.0], 1, episodes, StopReason.answered
    )
    record.tags["scores"] = score_record(record)
    return record


@given(WORDS, WORDS)
def test_em_implies_f1(prediction: str, gold: str):
    scores = score_record(make_record(prediction, golds=(gold,)))
    if scores["em"] == [1.0]:
        assert scores["f1"] == [1.0]
        assert scores["sub_em"] == [1.0]
    assert scores["em"] <= scores["sub_em"]


def test_last_valid_last_and_best():
    row = score_row(make_record("no", "yes", None), 3, 1)
    assert row["em"] == [0.0, 1.0, 0.0]
    assert (row["em_last_valid"], row["em_last"], row["em_best"]) == (1.0, 0.0, 1.0)
    row = score_row(make_record("yes", "no", None), 3, 1)
    assert (row["em_last_valid"], row["em_last"], row["em_best"]) == (0.0, 0.0, 1.0)
    row = score_row(make_record(None, None), 2, 1)
    assert (row["em_last_valid"], row["em_last"], row["em_best"]) == (0.0, 0.0, 0.0)


def test_episodes_that_never_ran_score_nothing():
    row = score_row(make_record("yes"), 3, 1)
    assert row["em"] == [1.0, 0.0, 0.0]
    assert row["corrupted"] == [0.0, 0.0]
    assert row["unanswered"] == [1.0, 0.0]
    assert row["episodes_run"] == 1
    assert row["em_last_valid"] == 1.0


def test_too_many_episodes_are_refused():
    with pytest.raises(ValueError, match="has 3 episodes, but its method has 2"):
        score_row(make_record("a", "b", "c"), 2, 1)


@pytest.mark.parametrize("stop", [StopReason.agreed, StopReason.confident])
def test_episodes_that_were_not_needed_score_as_the_last(stop: StopReason):
    record = make_record("no", "yes", "yes")
    record.stop = stop
    row = score_row(record, 5, 1)
    assert row["em"] == [0.0, 1.0, 1.0, 1.0, 1.0]
    assert (row["em_last"], row["em_last_valid"], row["em_best"], row["em_vote"]) == (1.0, 1.0, 1.0, 1.0)
    assert row["kept"] == [0.0, 1.0, 1.0, 1.0]
    assert row["corrupted"] == row["unanswered"] == [0.0] * 4
    assert row["turns"] == [0.0] * 5, "no cost is carried forward"
    record.stop = StopReason.context_limit
    assert score_row(record, 5, 1)["em"] == [0.0, 1.0, 1.0, 0.0, 0.0]


def test_parallel_samples_answer_by_vote():
    record = make_record("yes", "no", "The yes", "no", None, "no")
    assert score_row(record, 6, 1)["em_final"] == 0.0
    record = make_record("yes", "no", "Yes!", None, "maybe")
    assert score_row(record, 5, 1)["em_final"] == score_row(record, 5, 1)["em_last_valid"] == 0.0
    record.context = "independent"
    row = score_row(record, 5, 1)
    assert row["em_final"] == row["em_vote"] == 1.0
    assert row["em_vote_after"] == [1.0, 1.0, 1.0, 1.0, 1.0], "the earlier of two equally frequent answers wins"
    assert row["em_best_after"] == pytest.approx([0.4, 0.7, 0.9, 1.0, 1.0]), "pass@k of 2 right ones among 5"


@given(st.lists(st.sampled_from([None, "a b", "A  B", "c", "d"]), max_size=7), st.integers(0, 3))
def test_choices_hold_what_they_promise(answers: list[str | None], more: int):
    scores = [0.0 if answer is None else scoring.em(answer, ("a b",)) for answer in answers]
    found = by_count(answers, scores, len(answers) + more, parallel=False)
    assert {len(values) for values in found.values()} == {len(answers) + more}
    assert all(a <= b for a, b in itertools.pairwise(found["best"]))
    assert all(v <= b and w <= b for v, w, b in zip(found["vote"], found["last_valid"], found["best"], strict=True))
    given = [answer for answer in answers if answer is not None]
    assert (vote(answers) is None) == (last_valid(answers) is None) == (not given)
    if given:
        forms = [scoring.normalize(answer) for answer in given]
        winner = scoring.normalize(str(answers[vote(answers)]))  # type: ignore[index]
        assert forms.count(winner) == max(map(forms.count, forms))


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.integers(1, 8))
def test_pass_at_k_is_the_mean_over_all_choices_of_k_samples(right: list[bool], count: int):
    count = min(count, len(right))
    scores = [float(value) for value in right]
    found = by_count(["x"] * len(right), scores, len(right), parallel=True)["best"][count - 1]
    drawn = list(itertools.combinations(scores, count))
    assert found == pytest.approx(sum(map(max, drawn)) / len(drawn))


def found_passages(*texts: str) -> list[Hit]:
    return [Hit(Passage(str(number), "Title", text), 1.0) for number, text in enumerate(texts)]


def test_hits_of_the_agents_own_searches():
    record = make_record("no", None, golds=("Marie Curie", "Curie"))
    assert score_row(record, 2, 3)["hit@3"] == 0.0
    turns = [
        Turn(1, 2, "", ActionKind.search, "q", hits=found_passages("nothing", "nobody", "she was marie curie.")),
        Turn(2, 2, "", ActionKind.answer, "no"),
    ]
    record.episodes[0].turns = turns
    record.tags["scores"] = score_record(record)
    row = score_row(record, 2, 3)
    assert [row["hit@1"], row["hit@2"], row["hit@3"]] == [0.0, 0.0, 1.0]
    record.prompt_hits = found_passages("Curie", "x")
    row = score_row(record, 2, 3)
    assert [row["hit@1"], row["hit@2"], row["hit@3"]] == [1.0, 1.0, 1.0]
    record.prompt_hits = found_passages("Curieux", "x")
    assert score_row(record, 2, 3)["hit@1"] == 0.0, "words, not letters"


def test_the_answer_that_counts_is_the_one_that_is_supported():
    """The first sample answers with what it read, the others by a vote with what nobody read."""
    record = make_record("Curie", "Planck", "planck", golds=("Curie",))
    record.episodes[0].turns = [Turn(1, 2, "", ActionKind.search, "q", hits=found_passages("Curie"))]
    record.tags["scores"] = score_record(record)
    assert [score_row(record, 3, 1, answer=answer)["supported"] for answer in ("first", "last")] == [1.0, 0.0]
    record.context = "independent"
    row = score_row(record, 3, 1, answer="first")
    assert (row["supported"], row["wordless"]) == (0.0, 0.0)
    assert score_row(make_record("No.", None), 2, 1)["wordless"] == 1.0
    row = score_row(make_record(None), 1, 1)
    assert (row["supported"], row["wordless"]) == (0.0, 0.0)


def test_the_yes_no_rule_is_an_option():
    record = make_record("yes it is", golds=("yes",))
    assert score_row(record, 1, 1)["f1_final"] == pytest.approx(0.5)
    assert score_row(record, 1, 1, yes_no_rule=True)["f1_final"] == 0.0


def test_tokens_beside_the_transcript_count():
    record = make_record("no")
    record.episodes[0].turns = [Turn(1, 2, "", ActionKind.answer, "no", aside_tokens=7)]
    record.tags["scores"] = score_record(record)
    row = score_row(record, 1, 1)
    assert row["generated_tokens"] == [8.0]
    assert row["total_tokens"] == 9.0


@given(st.lists(st.sampled_from([(0.0, False), (0.0, True), (1.0, True)]), min_size=2, max_size=6))
def test_transitions_add_up(episodes: list[tuple[float, bool]]):
    em = [score for score, _ in episodes]
    changes = transitions(em, [answered for _, answered in episodes])
    for index in range(1, len(em)):
        corrected, corrupted, unanswered, kept = (changes[name][index - 1] for name in TRANSITIONS)
        assert em[index] == corrected + kept
        assert em[index - 1] == corrupted + unanswered + kept


def test_an_episode_without_an_answer_corrupts_nothing():
    row = score_row(make_record("yes", None, "yes", "no", "yes", None), 7, 1)
    assert row["corrupted"] == [0, 0, 1, 0, 0, 0]
    assert row["unanswered"] == [1, 0, 0, 0, 1, 0]
    record = make_record("yes", None)
    record.stop = StopReason.deadline
    assert score_row(record, 4, 1)["corrupted"] == [0, 0, 0]
    assert score_row(record, 4, 1)["unanswered"] == [1, 0, 0]


@pytest.mark.parametrize("stop", [StopReason.agreed, StopReason.confident])
def test_best_of_samples_that_ended_early_is_the_best_so_far(stop: StopReason):
    """pass@k is about a fixed number of samples; wrong, right, right of ten is right from the second on."""
    record = make_record("no", "yes", "yes")
    record.context, record.stop = "independent", stop
    row = score_row(record, 10, 1)
    assert row["em_best_after"] == [0.0] + [1.0] * 9
    assert row["em_best"] == 1.0
