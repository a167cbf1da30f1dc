"""Coroutines in a loop of another thread: results, errors, and the end of what is interrupted."""

from __future__ import annotations

import _thread
import asyncio
import signal
import threading
from collections.abc import Callable

import pytest

from mrsearch.interactive.event_loop import EventLoopThread


async def double(number: int) -> int:
    await asyncio.sleep(0)
    if number < 0:
        raise ValueError(f"{number} is negative")
    return 2 * number


def test_results_and_errors_reach_the_caller_even_inside_a_running_loop() -> None:
    async def notebook() -> int:
        return loop.run(double(21))

    with EventLoopThread() as loop:
        assert asyncio.run(notebook()) == 42
        with pytest.raises(ValueError, match="-1 is negative"):
            loop.run(double(-1))


def wake() -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


@pytest.mark.parametrize("interrupt", [wake, _thread.interrupt_main], ids=["waking", "asleep"])
def test_what_is_interrupted_has_ended_before_the_caller_goes_on(interrupt: Callable[[], None]) -> None:
    """The second stands for a signal just before the caller blocks: it is noted, and wakes nobody."""
    ends: list[str] = []

    async def endless() -> None:
        try:
            interrupt()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ends.append("cancelled")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with EventLoopThread() as loop:
            with pytest.raises(KeyboardInterrupt):
                loop.run(endless())
            assert ends == ["cancelled"]
            assert loop.run(double(1)) == 2
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_thread_ends_with_the_block() -> None:
    with EventLoopThread():
        assert any(thread.name == "mrsearch-event-loop" for thread in threading.enumerate())
    assert not any(thread.name == "mrsearch-event-loop" for thread in threading.enumerate())
