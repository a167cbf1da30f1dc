"""Chunks of jobs."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from mrsearch.agent.batch import run_batch


class Register:
    """A batching policy that keeps the order of what happened to it."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def attach(self, request_id: str) -> None:
        self.events.append(("attach", request_id))

    def detach(self, request_id: str) -> None:
        self.events.append(("detach", request_id))

    async def generate(self, context, sampling, request_id):
        raise AssertionError("never called here")


class Plain:
    """A policy that does not batch."""

    async def generate(self, context, sampling, request_id):
        raise AssertionError("never called here")


def jobs_of(policy: Register, delays: list[float]):
    async def job(name: str, delay: float) -> str:
        policy.events.append(("start", name))
        await asyncio.sleep(delay)
        return name.upper()

    return [(f"j{n}", partial(job, f"j{n}", delay)) for n, delay in enumerate(delays)]


def test_results_come_in_the_order_of_the_jobs_and_chunks_do_not_mix():
    policy = Register()
    results = asyncio.run(run_batch(jobs_of(policy, [0.02, 0.0, 0.01, 0.0, 0.0]), policy, 2))
    assert results == ["J0", "J1", "J2", "J3", "J4"]
    for chunk in (["j0", "j1"], ["j2", "j3"], ["j4"]):
        span, policy.events = policy.events[: 3 * len(chunk)], policy.events[3 * len(chunk) :]
        assert span[: len(chunk)] == [("attach", name) for name in chunk], "all are attached before any starts"
        assert {name for _, name in span} == set(chunk)
        assert sorted(span[-len(chunk) :]) == [("detach", name) for name in chunk] or len(chunk) == 2
    assert policy.events == []


def test_a_job_is_detached_as_soon_as_it_ends():
    policy = Register()
    asyncio.run(run_batch(jobs_of(policy, [0.02, 0.0]), policy, 2))
    assert policy.events[-2:] == [("detach", "j1"), ("detach", "j0")]


def test_the_first_exception_cancels_the_rest_and_propagates():
    policy = Register()
    cancelled = []

    async def fail() -> None:
        await asyncio.sleep(0)
        raise KeyError("mine")

    async def wait() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def never() -> None:
        raise AssertionError("a later chunk must not start")

    with pytest.raises(KeyError, match="mine"):
        asyncio.run(run_batch([("a", wait), ("b", fail), ("c", wait), ("d", never)], policy, 3))
    assert cancelled == [True, True]
    assert sorted(name for event, name in policy.events if event == "detach") == ["a", "b", "c"]


def test_cancelling_the_batch_detaches_even_jobs_that_never_ran():
    policy = Register()

    async def cancel_at_once() -> None:
        batch = asyncio.ensure_future(run_batch(jobs_of(policy, [60.0, 60.0]), policy, 2))
        await asyncio.sleep(0)
        batch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await batch

    asyncio.run(cancel_at_once())
    assert sorted(name for event, name in policy.events if event == "detach") == ["j0", "j1"]


def test_policies_that_do_not_batch_and_empty_batches_are_fine():
    assert asyncio.run(run_batch(jobs_of(Register(), [0.0, 0.0]), Plain(), 5)) == ["J0", "J1"]
    assert asyncio.run(run_batch([], Register(), 5)) == []


def test_bad_arguments_are_refused_before_anything_starts():
    policy = Register()
    with pytest.raises(ValueError, match=r"concurrency \(0\)"):
        asyncio.run(run_batch(jobs_of(policy, [0.0]), policy, 0))
    twice = [*jobs_of(policy, [0.0]), *jobs_of(policy, [0.0])]
    with pytest.raises(ValueError, match="same request id"):
        asyncio.run(run_batch(twice, policy, 2))
    assert policy.events == []
