"""The server against the plainest peer, and its start-up time.

    python benchmarks/retrieval_server.py [--passages 100000] [--rounds 3] [--seconds 8] [--work build/benchmarks]

One query a request, no cache, all servers over the same passages; rounds alternate, ratios are medians over rounds.
"""

# ruff: noqa: T201  (a script that prints its measurements)
from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
from retrieval_common import load, machine, made_up_index, prepare, study

from mrsearch.retrieval.indexes.dense import VECTORS
from mrsearch.retrieval.service import lifetime as service
from mrsearch.retrieval.service.endpoint import read_endpoint

OURS = {"ours, float32": ("float32", "float32"), "ours, bfloat16": ("half", "bfloat16")}
"""Scan and encoder precision; the peer is float32 throughout."""
PEER_PORT = 18765
IMPORT_AND_LOAD = """
import torch
from mrsearch.config.retrieval import Encoder
from mrsearch.retrieval.indexes.encoder import load_encoder
load_encoder(Encoder(kind="minilm", dtype="{dtype}"))
"""


def start_ours(name: str, corpus: Path, indexes: Path, token: Path) -> tuple[str, float]:
    """URL, and seconds from the start to the first healthy answer."""
    scan, dtype = OURS[name]
    begun = time.perf_counter()
    service.start(study(scan, dtype), corpus, indexes / scan, token)
    return read_endpoint(token).url, time.perf_counter() - begun


def start_peer(corpus: Path, vectors: Path) -> tuple[str, subprocess.Popen]:
    """URL and process."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("retrieval_peer.py")), str(corpus), str(vectors), str(PEER_PORT)]
    )
    url = f"http://127.0.0.1:{PEER_PORT}"
    while process.poll() is None:
        try:
            httpx.get(f"{url}/health")
            return url, process
        except httpx.HTTPError:
            time.sleep(0.2)
    raise RuntimeError("the peer did not start")


def start_up(corpus: Path, indexes: Path, work: Path, rounds: int) -> None:
    """Seconds to the first healthy answer, less importing torch and loading the encoder in a process of its own."""
    for name, (_, dtype) in OURS.items():
        beyond = []
        for n in range(rounds):
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-c", IMPORT_AND_LOAD.format(dtype=dtype)], check=True, capture_output=True)
            base = time.perf_counter() - begun
            token = work / f"startup-{n}.json"
            _, seconds = start_ours(name, corpus, indexes, token)
            service.stop(token)
            beyond.append(seconds - base)
            print(f"{name}: start-up {seconds:.1f} s, of which torch and encoder {base:.1f} s", flush=True)
        print(f"{name}: median beyond torch and encoder {statistics.median(beyond):.1f} s\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 32, 64])
    parser.add_argument("--no-start-up", action="store_true", help="leave the start-up times out")
    parser.add_argument("--work", type=Path, default=Path("build/benchmarks"))
    arguments = parser.parse_args()
    print(f"{arguments.passages} passages, {machine()}")
    corpus, indexes = prepare(arguments.work, arguments.passages)
    for scan, dtype in OURS.values():
        made_up_index(study(scan, dtype), corpus, indexes / scan / "dense")
    if not arguments.no_start_up:
        start_up(corpus, indexes, arguments.work, arguments.rounds)

    tokens = {name: arguments.work / f"serve-{n}.json" for n, name in enumerate(OURS)}
    url, peer = start_peer(corpus, indexes / "float32" / "dense" / VECTORS)
    urls, pids = {"peer": url}, {"peer": peer.pid}
    bearers: dict[str, str | None] = {"peer": None}
    try:
        for name, token in tokens.items():
            urls[name], _ = start_ours(name, corpus, indexes, token)
            endpoint = read_endpoint(token)
            pids[name], bearers[name] = int(endpoint.boot.partition("-")[0]), endpoint.bearer
        for name, url in urls.items():
            load(url, 8, 2, 9999, bearers[name])
        compare(urls, pids, bearers, arguments)
    finally:
        peer.terminate()
        for token in tokens.values():
            service.stop(token)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    return sum(psutil.Process(pid).cpu_times()[:2])


def compare(
    urls: dict[str, str], pids: dict[str, int], bearers: dict[str, str | None], arguments: argparse.Namespace
) -> None:
    """Print medians and ratios of every number of clients. CPU time per query depends least on what else runs."""
    for clients in arguments.clients:
        rounds: dict[str, list] = {name: [] for name in urls}
        cpu: dict[str, list[float]] = {name: [] for name in urls}
        for n in range(arguments.rounds):
            for name, url in urls.items():
                before = cpu_seconds(pids[name])
                rounds[name].append(load(url, clients, arguments.seconds, 1000 * clients + n, bearers[name]))
                cpu[name].append((cpu_seconds(pids[name]) - before) / rounds[name][-1].count)
        for name, loads in rounds.items():
            speed = [a.per_second / b.per_second for a, b in zip(loads, rounds["peer"], strict=True)]
            tail = [a.p99 / b.p99 for a, b in zip(loads, rounds["peer"], strict=True)]
            work = [a / b for a, b in zip(cpu["peer"], cpu[name], strict=True)]
            print(
                f"{clients:3} clients  {name:22} {statistics.median(x.per_second for x in loads):7.1f} queries/s"
                f"  p50 {1e3 * statistics.median(x.p50 for x in loads):7.1f} ms"
                f"  p99 {1e3 * statistics.median(x.p99 for x in loads):7.1f} ms"
                f"  | to peer: {statistics.median(speed):5.2f}x throughput, {statistics.median(tail):5.2f}x p99,"
                f" {statistics.median(work):5.2f}x queries per CPU s",
                flush=True,
            )


if __name__ == "__main__":
    main()
