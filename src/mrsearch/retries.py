"""Asking a server again: it may be away or overloaded for a while, and may say when it wants to be asked."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_before_delay, wait_random_exponential

T = TypeVar("T")

FIRST_PAUSE = 0.2
"""Seconds that the first pause may take; later ones grow, at random, so that clients do not come back together."""
BUSY = frozenset({408, 425, 429})
"""Statuses below 500 that may pass."""
LASTING = frozenset({501, 505})
"""Statuses from 500 on that do not: what was asked is not implemented there."""


class TransientError(RuntimeError):
    """Worth another try, after `retry_after` seconds if the server asked for that."""

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


async def until_answered(
    attempt: Callable[[], Awaitable[T]],
    until: float,
    longest_pause: float,
    on_retry: Callable[[], None] | None = None,
) -> T:
    """What `attempt` returns: it is called again after each TransientError, as long as a pause still ends before
    `until` on the monotonic clock; then the last one is raised.

    longest_pause: seconds between two tries, at most. on_retry: called before every pause.
    """
    failures: list[TransientError] = []
    try:
        return await attempt()  # without tenacity, which would be a tenth of a generation's cost
    except TransientError as error:
        failures.append(error)

    async def again() -> T:
        if failures:
            raise failures.pop()
        return await attempt()

    retrying = AsyncRetrying(
        retry=retry_if_exception_type(TransientError),
        stop=stop_before_delay(max(until - time.monotonic(), 0.0)),
        wait=_pause(longest_pause),
        before_sleep=(lambda _: on_retry()) if on_retry else None,
        reraise=True,
    )
    answer: T = await retrying(again)
    return answer


def may_pass(status: int) -> bool:
    """Whether a server that answers with this status may answer otherwise later."""
    return status in BUSY or (status >= 500 and status not in LASTING)


def retry_after(headers: Mapping[str, str]) -> float:
    """The seconds that an answer's headers ask to wait; 0 where they do not."""
    try:
        return max(0.0, float(headers.get("Retry-After", "0")))
    except ValueError:
        return 0.0


def _pause(longest: float) -> Callable[[RetryCallState], float]:
    """Seconds before the next try."""
    growing = wait_random_exponential(multiplier=FIRST_PAUSE, max=longest)

    def pause(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        after = error.retry_after if isinstance(error, TransientError) else 0.0
        return min(longest, after + growing(state))

    return pause
