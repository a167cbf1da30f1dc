"""A checkpoint by time is due once the last one is old enough, and not before."""

from __future__ import annotations

from mrsearch.training.save_clock import SaveClock


def test_time_runs_from_the_start_and_from_each_checkpoint() -> None:
    moment = [100.0]
    clock = SaveClock(2.0, now=lambda: moment[0])
    asked = []
    for seconds in (119, 1, 200):
        moment[0] += seconds
        asked.append(clock.due())
    clock.saved()
    for seconds in (119, 1):
        moment[0] += seconds
        asked.append(clock.due())
    assert asked == [False, True, True, False, True]


def test_without_minutes_it_is_never_due() -> None:
    moment = [0.0]
    clock = SaveClock(None, now=lambda: moment[0])
    moment[0] = 1e12
    assert not clock.due()
