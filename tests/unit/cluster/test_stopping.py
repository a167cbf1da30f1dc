"""Ranks of one run that stop together."""

from __future__ import annotations

from pathlib import Path

from mrsearch.cluster.stopping import StopRequest


def test_ranks_agree_on_the_step_after_which_they_stop(tmp_path: Path) -> None:
    ranks = [StopRequest(tmp_path, attempt="1-0", world=3) for _ in range(3)]
    assert not any(rank.after(4) for rank in ranks)
    ranks[1].requested = True
    assert [rank.after(5) for rank in ranks] == [False, False, False]
    ranks[0].requested = True
    assert [rank.after(6) for rank in ranks] == [True, True, True]
    assert not StopRequest(tmp_path, attempt="1-1", world=3).after(7), "the next attempt starts afresh"
    alone = StopRequest(tmp_path, attempt="2-0", world=1)
    alone.requested = True
    assert alone.after(1)
    assert [path.name for path in tmp_path.iterdir()] == ["stop-after-1-0"]
