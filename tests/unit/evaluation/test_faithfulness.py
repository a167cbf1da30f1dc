"""Adaptivity and support on values small enough to compute by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mrsearch.config import Study
from mrsearch.evaluation.faithfulness import adaptivity_rows, support_pair, support_rows
from mrsearch.evaluation.statistics import difference, estimate, interval

SEARCHES = [("searches", "all")]
NAMES = [("em", "final"), ("supported", "all"), ("wordless", "all")]


@pytest.fixture(scope="module")
def study(small_study: Study) -> Study:
    raw = small_study.model_dump()
    raw["benchmarks"] = {"popular": {}, "single_hop": {}, "two_hop": {}, "three_hop": {"average": False}}
    return Study.model_validate(raw)


def counts(*searches: float) -> np.ndarray:
    """One seed, one measure."""
    return np.array(searches)[None, :, None]


def test_adaptivity_is_the_difference_of_unweighted_means(study: Study) -> None:
    """One hop: the mean of 1 and 2; two hops: 3; what stands outside the mean does not count."""
    rates_K = np.zeros(1, bool)
    values = {"popular": counts(1, 1), "single_hop": counts(1, 3), "two_hop": counts(2, 4), "three_hop": counts(9, 9)}
    estimates = {name: estimate(value_SQK, rates_K, 0.95) for name, value_SQK in values.items()}
    rows = {row["metric"]: row for row in adaptivity_rows(study, SEARCHES, estimates)}
    assert [rows[name]["value"] for name in ("one_hop_searches", "multi_hop_searches", "adaptivity")] == [1.5, 3.0, 1.5]
    # Variances of the means: of 1 and 3 it is 1, by half squared 1/4; of 2 and 4 it is 1.
    assert rows["adaptivity"]["high"] - 1.5 == pytest.approx(1.96 * np.sqrt(1 / 4 + 1), rel=1e-4)
    assert rows["adaptivity"]["low"] == pytest.approx(3.0 - rows["adaptivity"]["high"])
    assert {row["n"] for row in rows.values()} == {4, 2, 6}
    assert {(row["benchmark"], row["episode"]) for row in rows.values()} == {("average", "all")}


def test_seeds_of_a_difference_are_paired() -> None:
    """Both means move by 1 with the seed, so that their difference does not."""
    rates_K = np.zeros(1, bool)
    two, one = (estimate(np.array(rows)[..., None], rates_K, 0.95) for rows in ([[3, 5], [4, 6]], [[0, 2], [1, 3]]))
    gap = difference(two, one)
    assert (gap.values_K[0], gap.between_K[0]) == (3.0, 0.0)
    assert two.between_K[0] == one.between_K[0] == 0.25
    low, high = interval(gap, 0.95)
    assert (high[0] - low[0]) / 2 == pytest.approx(1.96 * np.sqrt(2), rel=1e-4)


def test_no_benchmark_of_either_hops_has_no_adaptivity(small_study: Study) -> None:
    assert list(adaptivity_rows(small_study, SEARCHES, {})) == []


def answers(*rows: tuple[int, int, int]) -> np.ndarray:
    """[1, Q, 3] of right, supported and wordless answers."""
    return np.array([rows], dtype=float)


def test_support_is_a_share_of_answers_that_a_passage_could_say(study: Study) -> None:
    """Popular: two of four answers stand in a passage, yes is not counted though a passage has the word, and of three
    right ones that are counted two are supported."""
    popular = answers((1, 1, 0), (1, 1, 0), (1, 0, 0), (0, 0, 0), (1, 1, 1))
    values = {"popular": popular, "single_hop": answers((0, 1, 0)), "two_hop": answers((0, 0, 0), (0, 0, 0))}
    values["three_hop"] = values["two_hop"]
    pairs = {name: support_pair(NAMES, value_SQK) for name, value_SQK in values.items()}
    rows = {(row["benchmark"], row["metric"]): row for row in support_rows(study, pairs)}
    popular_rows = rows["popular", "support"], rows["popular", "right_support"]
    assert [row["value"] for row in popular_rows] == pytest.approx([2 / 4, 2 / 3])
    assert [row["n"] for row in popular_rows] == [4, 3]
    assert all(0.0 <= row["low"] < row["value"] < row["high"] <= 1.0 for row in popular_rows)
    assert np.isnan(rows["two_hop", "right_support"]["value"]), "nothing is right there"
    # Benchmarks weigh alike, also one without a right answer: (2/5 + 1 + 0) / (4/5 + 1 + 1), and (2/5) / (3/5).
    average = rows["average", "support"], rows["average", "right_support"]
    assert [row["value"] for row in average] == pytest.approx([1.4 / 2.8, 2 / 3])


def test_what_is_always_supported_is_not_taken_for_certain(study: Study) -> None:
    pairs = dict.fromkeys(study.benchmarks, support_pair(NAMES, answers(*[(1, 1, 0)] * 20)))
    row = next(iter(support_rows(study, pairs)))
    assert (row["value"], row["high"]) == (1.0, 1.0)
    assert 0.8 < row["low"] < 1.0
