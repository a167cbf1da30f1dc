"""Asking a server again: it may be away or overloaded for a while, and may say when it wants to be asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tenacity import RetryCallState, retry_if_exception_type, stop_before_delay, wait_random_exponential

FIRST_PAUSE = 0.2
"""Seconds that the first pause may take; later ones grow, at random, so that clients do not come back together."""


class TransientError(RuntimeError):
    """Worth another try, after `retry_after` seconds if the server asked for that."""

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


def while_transient(
    patience_seconds: float, longest_pause: float, on_retry: Callable[[], None] | None = None
) -> dict[str, Any]:
    """Arguments of tenacity's `Retrying` and `AsyncRetrying`: try again after each TransientError, as long as a pause
    still ends within the patience; then the last one is raised. `on_retry` is called before every pause."""
    growing = wait_random_exponential(multiplier=FIRST_PAUSE, max=longest_pause)

    def pause(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        after = error.retry_after if isinstance(error, TransientError) else 0.0
        return min(longest_pause, after + growing(state))

    return {
        "retry": retry_if_exception_type(TransientError),
        "stop": stop_before_delay(patience_seconds),
        "wait": pause,
        "before_sleep": (lambda _: on_retry()) if on_retry else None,
        "reraise": True,
    }


def retry_after(headers: Mapping[str, str]) -> float:
    """The seconds that an answer's headers ask to wait; 0 where they do not."""
    try:
        return max(0.0, float(headers.get("Retry-After", "0")))
    except ValueError:
        return 0.0
