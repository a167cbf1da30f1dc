"""Who waits for the index, for how long, and who waits no more."""

import asyncio
import itertools
import threading

import pytest

from mrsearch.retrieval.indexes.ranking import Ranking
from mrsearch.retrieval.service import batching
from mrsearch.retrieval.service.batching import Batcher
from mrsearch.retrieval.service.cache import ENTRY_BYTES, HIT_BYTES, Ask, RankingCache
from mrsearch.retrieval.service.fair_queue import QueueFullError


class Gated:
    """A searcher that begins a batch only when `gate` lets it; one hit per query."""

    def __init__(self, open_gate=False):
        self.gate, self.batches = threading.Semaphore(0), []
        self.open = open_gate

    def search(self, queries, topk):
        self.batches.append(list(queries))
        if not self.open:
            self.gate.acquire()
        return [Ranking([len(query)], [1.0]) for query in queries]

    def release(self):
        self.open = True
        self.gate.release()


async def settled(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


def run(scenario, searcher=None, **options):
    """Runs the scenario with a batcher whose first batch, of the query "first", is being searched."""

    async def whole():
        gated = searcher or Gated()
        batcher = Batcher(gated, 0, threaded=True, **options)
        first = asyncio.create_task(batcher.ask(["first"], 1, "first"))
        await settled(lambda: gated.batches)
        try:
            await scenario(batcher, gated)
        finally:
            gated.release()
            await asyncio.gather(first, return_exceptions=True)
            batcher.close()

    asyncio.run(whole())


def ask(batcher, client, *queries):
    return asyncio.create_task(batcher.ask(queries, 1, client))


@pytest.mark.parametrize("greedy", [1, 3, 40])
def test_a_modest_client_is_in_the_next_batch_however_much_others_ask(greedy, monkeypatch):
    monkeypatch.setattr(batching, "MOST_SEARCHED", 4 * greedy)

    async def scenario(batcher, gated):
        crowd = [ask(batcher, f"greedy {c}", *(f"{c} {n}" for n in range(50))) for c in range(greedy)]
        await settled(lambda: batcher.waiting == 50 * greedy)
        modest = ask(batcher, "modest", "mine")
        await settled(lambda: batcher.waiting == 50 * greedy + 1)
        gated.release()
        assert await modest == [Ranking([4], [1.0])]
        assert "mine" in gated.batches[1], "first in the queue or last, it has its turn"
        answers = await asyncio.gather(*crowd)
        assert [len(rankings) for rankings in answers] == [50] * greedy

    run(scenario)


def test_every_query_is_searched_once_and_answered_in_order(monkeypatch):
    monkeypatch.setattr(batching, "MOST_SEARCHED", 7)

    async def scenario(batcher, gated):
        texts = ["x" * (1 + n % 13) for n in range(60)]
        tasks = [ask(batcher, str(n % 5), *texts[n:], *texts[:n]) for n in range(0, 60, 3)]
        await settled(lambda: batcher.waiting == 13)
        gated.release()
        for n, task in zip(range(0, 60, 3), tasks, strict=True):
            assert [r.positions[0] for r in await task] == [len(text) for text in texts[n:] + texts[:n]]
        assert sorted(itertools.chain(*gated.batches[1:])) == sorted(set(texts))
        assert batcher.waiting == 0

    run(scenario)


@pytest.mark.parametrize(("bound", "sizes"), [(8, [3, 3, 3]), (8, [9]), (100, [60, 30, 20]), (1, [1, 1])])
def test_the_queue_never_holds_more_queries_than_its_bound(bound, sizes):
    async def scenario(batcher, gated):
        tasks, expected = [], 0
        for c, size in enumerate(sizes):
            tasks.append(ask(batcher, str(c), *(f"{c} {n}" for n in range(size))))
            await asyncio.sleep(0.01)
            expected += size if expected + size <= bound else 0
            assert batcher.waiting == expected <= bound
        gated.release()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(len(outcome) for outcome in outcomes if isinstance(outcome, list)) == expected
        assert any(isinstance(outcome, QueueFullError) for outcome in outcomes)

    run(scenario, max_queue=bound)


def test_no_client_can_fill_the_queue_alone():
    async def scenario(batcher, gated):
        greedy = [ask(batcher, "greedy", f"g{n}") for n in range(100)]
        await asyncio.sleep(0.05)
        assert batcher.waiting == 5, "half of the queue"
        modest = ask(batcher, "modest", "m1", "m2")
        await asyncio.sleep(0.01)
        assert batcher.waiting == 7
        gated.release()
        assert len(await modest) == 2
        outcomes = await asyncio.gather(*greedy, return_exceptions=True)
        assert sum(isinstance(outcome, list) for outcome in outcomes) == 5

    run(scenario, max_queue=10)


def test_queries_that_wait_already_or_that_are_known_need_no_space():
    async def scenario(batcher, gated):
        ask(batcher, "a", "q1", "q2")
        await settled(lambda: batcher.waiting == 2)
        again = ask(batcher, "b", "q2", "q1", "first", "q1")
        await asyncio.sleep(0.01)
        assert batcher.waiting == 2
        gated.release()
        assert len(await again) == 4
        assert gated.batches == [["first"], ["q1", "q2"]]

    run(scenario, max_queue=2)


def test_queries_of_gone_clients_are_not_searched_unless_others_wait_for_them():
    async def scenario(batcher, gated):
        gone = [ask(batcher, "gone", "g1", "shared", "g2"), ask(batcher, "gone", "g1"), ask(batcher, "away", "g3")]
        await settled(lambda: batcher.waiting == 4)
        stays = ask(batcher, "stays", "shared", "own")
        await settled(lambda: batcher.waiting == 5)
        for task in gone:
            task.cancel()
        await settled(lambda: batcher.waiting == 2)
        gated.release()
        assert [r.positions for r in await stays] == [[6], [3]]
        assert sorted(gated.batches[1]) == ["own", "shared"] and len(gated.batches) == 2

    run(scenario)


def test_one_of_two_equal_requests_may_go():
    async def scenario(batcher, gated):
        one, two = ask(batcher, "c", "q"), ask(batcher, "c", "q")
        await settled(lambda: batcher.waiting == 1)
        one.cancel()
        await asyncio.sleep(0.01)
        assert batcher.waiting == 1
        gated.release()
        assert await two == [Ranking([1], [1.0])]

    run(scenario)


def test_who_asks_and_hangs_up_leaves_nothing_behind():
    async def scenario(batcher, gated):
        for n in range(200):
            task = ask(batcher, f"c{n % 3}", *(f"{n} {k}" for k in range(20)))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert batcher.waiting == 0
        assert not batcher._queue._lines and len(batcher._queue._flights) == 1

    run(scenario, max_queue=50)


def test_a_health_check_is_admitted_to_a_full_queue():
    async def scenario(batcher, gated):
        ask(batcher, "a", "q1", "q2")
        await settled(lambda: batcher.waiting == 2)
        health = asyncio.create_task(batcher.fresh("probe", 1))
        await settled(lambda: batcher.waiting == 3)
        gated.release()
        assert await health == Ranking([5], [1.0])

    run(scenario, max_queue=2)


def test_a_failed_batch_fails_its_callers_and_no_later_one():
    class Failing(Gated):
        def search(self, queries, topk):
            rankings = super().search(queries, topk)
            if "bad" in queries:
                raise OSError("the disk is gone")
            return rankings

    async def scenario(batcher, gated):
        bad = ask(batcher, "a", "bad", "fine")
        await settled(lambda: batcher.waiting == 2)
        gated.release()
        with pytest.raises(OSError, match="the disk is gone"):
            await bad
        assert await batcher.ask(["fine"], 1) == [Ranking([4], [1.0])]

    run(scenario, Failing())


@pytest.mark.parametrize("length", [1, 100, 4000])
@pytest.mark.parametrize("hits", [0, 3, 100])
def test_the_cache_is_bounded_in_bytes(length, hits):
    bound = 200_000
    cache = RankingCache(10_000, bound)
    for n in range(1000):
        cache.put(Ask(f"{n:04}" + "ü" * length, 3), Ranking(list(range(hits)), [1.0] * hits))
        assert cache.bytes <= bound
    assert 0 < len(cache) < 300
    assert cache.bytes >= len(cache) * (ENTRY_BYTES + length + HIT_BYTES * hits)
    assert cache.get(Ask("0999" + "ü" * length, 3)) is not None and cache.get(Ask("0000" + "ü" * length, 3)) is None


def test_the_cache_keeps_what_was_used_last_within_its_entries():
    cache = RankingCache(3, 1_000_000)
    for query in "abc":
        cache.put(Ask(query, 1), Ranking([1], [1.0]))
    assert cache.get(Ask("a", 1))
    cache.put(Ask("d", 1), Ranking([1], [1.0]))
    assert [query for query in "abcd" if cache.get(Ask(query, 1))] == ["a", "c", "d"]
    for query in "acd":
        cache.drop(Ask(query, 1))
    assert (len(cache), cache.bytes) == (0, 0)


@pytest.mark.parametrize(("entries", "most"), [(0, 1_000_000), (10, 0), (10, ENTRY_BYTES)])
def test_a_cache_without_space_keeps_nothing(entries, most):
    cache = RankingCache(entries, most)
    cache.put(Ask("a", 1), Ranking([1], [1.0]))
    assert cache.get(Ask("a", 1)) is None and cache.bytes == 0
