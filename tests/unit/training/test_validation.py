"""The paired interval by which a validation is the best, by hand."""

from __future__ import annotations

import math

import pytest
from support.transcripts import HEALTHY, transcript

from mrsearch.agent.records import Episode
from mrsearch.training.validation import final_score, gain, held_out, mean_score, student_quantile


def test_the_interval_is_students_over_the_same_questions():
    """Differences 1, 0, 1, 0, 1: mean 0.6, deviation sqrt(0.3), and t of 4 degrees at 95 % 2.1318."""
    best = {"a": 0.0, "b": 1.0, "c": 0.0, "d": 0.5, "e": 0.0}
    scores = {"e": 1.0, "d": 0.5, "c": 1.0, "b": 1.0, "a": 1.0}
    reach = 2.13185 * math.sqrt(0.3 / 5)
    assert gain(scores, best) == pytest.approx((0.6 - reach, 0.6 + reach), abs=1e-4)
    assert mean_score(scores) == 0.9


def test_what_differs_between_questions_is_no_noise_of_a_difference():
    """Unpaired, means of 0.5 and 0.6 with deviations of 0.5 would say nothing."""
    best = {str(number): float(number % 2) for number in range(100)}
    better = {question: 1.0 if int(question) < 20 else score for question, score in best.items()}
    low, high = gain(better, best)
    assert 0.04 < low < 0.1 < high < 0.16


def test_questions_without_an_answer_on_one_side_are_left_out_and_too_few_decide_nothing():
    assert gain({"a": 1.0, "b": 1.0}, {"a": 0.0, "c": 1.0}) == (-math.inf, math.inf)
    with pytest.raises(ValueError, match="share no question"):
        gain({"a": 1.0}, {"b": 1.0})


@pytest.mark.parametrize("freedom", [4, 7, 30, 255])
def test_the_quantile_is_scipys(freedom):
    from scipy import stats

    assert student_quantile(0.95, freedom) == pytest.approx(stats.t.ppf(0.95, freedom), rel=1e-3)


def test_the_score_is_that_of_the_last_answer_given():
    meta = transcript(HEALTHY["one search"])
    assert final_score(meta, "em") == 1.0
    meta.episodes.append(Episode())
    assert final_score(meta, "em") == 1.0
    meta.episodes.append(Episode(answer="Eve"))
    assert final_score(meta, "em") == 0.0
    assert final_score(transcript(HEALTHY["one search"][:1]), "em") == 0.0


def test_the_same_questions_are_held_out_each_time():
    assert held_out(40, 6) == held_out(40, 6) == sorted(set(held_out(40, 6)))
    assert held_out(40, 0) == []
