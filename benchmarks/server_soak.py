"""A retrieval server in a process of its own under 200 clients, slow and rude ones among them.

    python benchmarks/server_soak.py [--seconds 60] [--work build/benchmarks]

Prints what honest clients got and how the server's memory went; exit code 1 where one starved, an answer was wrong, or
memory grew by more than 200 MB after the first tenth of the time.
"""

# ruff: noqa: T201  (a script that prints its measurements)
from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from retrieval_common import machine

from mrsearch.config import load_run, load_study
from mrsearch.retrieval.indexes.index import build_index
from mrsearch.retrieval.indexes.passages import build_store
from mrsearch.retrieval.service import lifetime as service
from mrsearch.retrieval.service.endpoint import Endpoint, read_endpoint

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from support.rude_clients import KINDS, misbehave, read_answer, search_request

HONEST, RUDE_EACH, PASSAGES = 170, 5, 500
GROWTH = 200_000_000


class Soak:
    """Honest clients, each on a connection of its own and every answer checked, beside rude ones."""

    def __init__(self, endpoint: Endpoint, seconds: float) -> None:
        place = urlsplit(endpoint.url)
        self.place = (str(place.hostname), int(place.port or 80))
        self.headers = f"Authorization: Bearer {endpoint.bearer}\r\n" if endpoint.bearer else ""
        self.seconds, self.begun, self.stop = seconds, time.monotonic(), time.monotonic() + seconds
        self.waits: list[list[float]] = [[] for _ in range(HONEST)]
        (self.server,) = {
            psutil.Process(item.pid) for item in psutil.net_connections("tcp") if _listens(item, self.place[1])
        }
        self.memory: list[tuple[float, int]] = []

    @property
    def goes_on(self) -> bool:
        return time.monotonic() < self.stop

    async def run(self) -> None:
        """Everybody at once until the time is over."""
        honest = [self.honest(number) for number in range(HONEST)]
        rude = [misbehave(kind, *self.place, self.stop, self.headers) for kind in KINDS for _ in range(RUDE_EACH)]
        await asyncio.gather(self.watch(), *honest, *rude)

    async def watch(self) -> None:
        while self.goes_on:
            self.memory.append((time.monotonic() - self.begun, self.server.memory_info().rss))
            await asyncio.sleep(0.5)

    async def honest(self, number: int) -> None:
        reader, writer = await asyncio.open_connection(*self.place)
        while self.goes_on:
            step = len(self.waits[number])
            wanted = [(number * 31 + step * 17 + k) % PASSAGES for k in range(1 + step % 3)]
            begun = time.monotonic()
            body = {"queries": [f"t{n} about" for n in wanted], "topk": 1}
            writer.write(search_request(body, self.headers))
            answer = json.loads(await asyncio.wait_for(read_answer(reader), 60))
            self.waits[number].append(time.monotonic() - begun)
            assert [hits[0]["id"] for hits in answer["result"]] == [f"p{n}" for n in wanted]
        writer.close()


def _listens(connection: object, port: int) -> bool:
    address = connection.laddr  # type: ignore[attr-defined]
    return connection.status == psutil.CONN_LISTEN and address.port == port  # type: ignore[attr-defined]


def prepared(work: Path) -> tuple[Path, Path]:
    """Corpus and indexes, built where they are missing."""
    corpus, indexes = work / "soak-corpus", work / "soak-indexes"
    if not corpus.exists():
        build_store(((f"p{n}", f"T{n}", f"about t{n} line") for n in range(PASSAGES)), corpus)
    if not (indexes / "dense").exists():
        build_index(load_study(load_run({"study": "demo"})), "dense", corpus, indexes / "dense")
    return corpus, indexes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--work", type=Path, default=Path("build/benchmarks"))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    corpus, indexes = prepared(options.work)
    served = {"mode": "http", "cache_entries": 50, "request_seconds": 10.0}
    study = load_study(load_run({"study": "demo", "overrides": {"retrieval.service": served}}))
    token = options.work / "soak.live"
    service.start(study, corpus, indexes, token)
    try:
        soak = Soak(read_endpoint(token), options.seconds)
        asyncio.run(soak.run())
    finally:
        service.stop(token)
    return report(soak)


def report(soak: Soak) -> int:
    counts, waits = [len(own) for own in soak.waits], sorted(wait for own in soak.waits for wait in own)
    settled = [rss for second, rss in soak.memory if second >= soak.seconds / 10]
    grown = max(settled) - settled[0]
    print(f"{machine()}; {HONEST} honest and {RUDE_EACH * len(KINDS)} rude clients, {soak.seconds:.0f} s")
    print(f"answers {sum(counts)} ({sum(counts) / soak.seconds:.0f}/s), per client {min(counts)} to {max(counts)}")
    print(
        f"waits: median {waits[len(waits) // 2]:.2f} s, 99 % {waits[len(waits) * 99 // 100]:.2f} s, {waits[-1]:.2f} s"
    )
    print(
        f"server memory: {settled[0] / 1e6:.0f} MB settled, {max(settled) / 1e6:.0f} MB at most, {grown / 1e6:+.0f} MB"
    )
    return int(min(counts) == 0 or grown > GROWTH)


if __name__ == "__main__":
    sys.exit(main())
