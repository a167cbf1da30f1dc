"""The share of a training's budget and the time left, computed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mrsearch.training.log import TrainingLog
from mrsearch.training.outlook import RECENT, Budget, outlook


def rows(count: int, seconds: float = 2.0, tokens: int = 1000) -> list[dict[str, Any]]:
    return [{"step": n, "total_tokens": tokens * (n + 1), "seconds": seconds} for n in range(count)]


def test_steps_and_the_pace_of_all_but_the_first() -> None:
    assert outlook(rows(1), Budget(100)) == "1 % of its steps"
    # 95 steps of 2 seconds are left.
    assert outlook(rows(5), Budget(100)) == "5 % of its steps, 0:03:10 left"
    assert outlook(rows(100), Budget(100)) == "100 % of its steps, 0:00:00 left"


def test_tokens_where_they_are_nearer_their_end() -> None:
    # 40 % of the tokens took 4 steps, so 6 are left.
    assert outlook(rows(4), Budget(1000, 10_000)) == "40 % of 10,000 tokens, 0:00:12 left"
    assert outlook(rows(4), Budget(5, 10_000)).startswith("80 % of its steps")
    assert outlook(rows(11), Budget(1000, 10_000)).startswith("100 % of 10,000 tokens")


def test_the_recent_pace_counts() -> None:
    slow, fast = rows(RECENT * 2, seconds=50.0), rows(RECENT * 4, seconds=1.0)[RECENT * 2 :]
    assert outlook([*slow, *fast], Budget(RECENT * 8)) == "50 % of its steps, 0:01:20 left"


def test_the_log_tells_it_and_a_continued_training_knows_its_pace(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    steps = TrainingLog(tmp_path, "tiny/mr_search/seed0", Budget(10))
    for row in rows(3):
        steps.add(row)
    again = TrainingLog(tmp_path, "tiny/mr_search/seed0", Budget(10))
    again.resume_at(2)
    with caplog.at_level("INFO"):
        again.add(rows(3)[2])
    assert "tiny/mr_search/seed0 step 3/10 (30 % of its steps, 0:00:14 left) total_tokens 3000" in caplog.text
