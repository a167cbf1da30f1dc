"""An event loop in a thread of its own: notebooks run one already, in which nobody may wait for another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, wait
from typing import Any, TypeVar

SIGNAL_SECONDS = 0.5
"""A signal that arrives just before a thread blocks is noticed only when it wakes: how long that may take."""

T = TypeVar("T")


class EventLoopThread:
    """Runs coroutines one after the other for callers that wait for them."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[Any] | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="mrsearch-event-loop", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Its result or exception. Whatever interrupts the waiting cancels the coroutine and waits for its end."""
        future: Future[T] | None = None
        try:
            future = asyncio.run_coroutine_threadsafe(self._tracked(coroutine), self._loop)
            return _result(future)
        except BaseException:
            if future is None or not future.done():
                _result(asyncio.run_coroutine_threadsafe(self._end_task(), self._loop))
            raise

    def close(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> EventLoopThread:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _tracked(self, coroutine: Coroutine[Any, Any, T]) -> T:
        self._task = asyncio.current_task()
        return await coroutine

    async def _end_task(self) -> None:
        """Cancel the coroutine, and no task that serves others, and return once it has ended."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


def _result(future: Future[T]) -> T:
    """What the future ends with; waits in steps, so that no interruption is left lying until the end."""
    while not wait([future], timeout=SIGNAL_SECONDS).done:
        pass
    return future.result()
