"""Parts of a set of questions: nested, the same everywhere, and never empty."""

from __future__ import annotations

import itertools
import random

import pytest

from mrsearch.config.data import WorldData
from mrsearch.data.subsets import first_by_id, split_by_id
from mrsearch.data.world import World

ROWS = [{"id": f"q{number}"} for number in range(40)]


def ids(rows):
    return {row["id"] for row in rows}


def test_smaller_subsets_lie_within_larger_ones():
    parts = [ids(first_by_id(ROWS, count)) for count in (1, 7, 20, 39, 40, 99)]
    assert [len(part) for part in parts] == [1, 7, 20, 39, 40, 40]
    assert all(small <= large for small, large in itertools.pairwise(parts))


def test_the_order_of_the_file_plays_no_part():
    mixed = random.Random(3).sample(ROWS, len(ROWS))
    assert first_by_id(mixed, 9) == first_by_id(ROWS, 9)
    assert ids(split_by_id(mixed, 0.2, "f")[0]) == ids(split_by_id(ROWS, 0.2, "f")[0])


def test_the_worlds_smaller_benchmarks_lie_within_its_larger_ones():
    few, many = (World(WorldData(questions_per_benchmark=count)).benchmark_questions("two_hop") for count in (5, 30))
    assert many[:5] == few


def test_a_share_is_held_out_and_nothing_is_lost():
    held_out, others = split_by_id(ROWS, 0.25, "train.jsonl")
    assert (len(held_out), len(others)) == (10, 30)
    assert ids(held_out).isdisjoint(ids(others)) and ids(held_out) | ids(others) == ids(ROWS)
    assert others == [row for row in ROWS if row in others], "in the file's order"
    assert ids(held_out) < ids(split_by_id(ROWS, 0.5, "train.jsonl")[0])


@pytest.mark.parametrize(("count", "share"), [(0, 0.5), (1, 0.5), (3, 0.1), (3, 0.9)])
def test_a_share_that_leaves_a_side_empty_is_refused(count: int, share: float):
    with pytest.raises(ValueError, match=rf"validation_share \({share}\) of the {count} questions of train.jsonl"):
        split_by_id(ROWS[:count], share, "train.jsonl")
