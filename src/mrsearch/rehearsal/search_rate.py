"""How fast exact search runs over a study's real number of rows, on random vectors that a device makes itself."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mrsearch.retrieval.indexes.torch_index import TorchIndex, search_buffers

MADE_AT_ONCE = 2**20
SPARE_BYTES = 2_000_000_000
"""Of a GPU's memory, left to others."""
LEAST_SECONDS, LEAST_ROUNDS = 1.0, 3


def random_rows(count: int, dim: int, device: str, seed: int = 0) -> Any:
    """Unit vectors [count, dim] of float16 in the device's memory."""
    import torch

    maker = torch.Generator(device).manual_seed(seed)
    rows = torch.empty(count, dim, dtype=torch.float16, device=device)
    for start in range(0, count, MADE_AT_ONCE):
        vectors = torch.randn(min(MADE_AT_ONCE, count - start), dim, device=device, generator=maker)
        rows[start : start + len(vectors)] = torch.nn.functional.normalize(vectors, dim=1).half()
    return rows


def rows_that_fit(count: int, dim: int, device: str) -> int:
    """So many rows, or as many as the GPU's free memory holds beside what a search needs."""
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    room = free - SPARE_BYTES - search_buffers(count) - MADE_AT_ONCE * dim * 8
    return max(1, min(count, room // (2 * dim)))


def median_seconds(run: Callable[[], Any], least_seconds: float = LEAST_SECONDS) -> float:
    """Of calls that end when their results are on the host; the first does not count."""
    run()
    times: list[float] = []
    while sum(times) < least_seconds or len(times) < LEAST_ROUNDS:
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2]


def best_by_float64(rows_ND: Any, queries_QD: np.ndarray, k: int) -> np.ndarray:
    """Positions [Q, k] of the largest products in float64, best first, where the rows lie."""
    import torch

    queries = torch.from_numpy(queries_QD).to(rows_ND.device).double()
    candidates = [
        (scores, positions + start)
        for start in range(0, len(rows_ND), MADE_AT_ONCE // 2)
        for chunk in [rows_ND[start : start + MADE_AT_ONCE // 2].double()]
        for scores, positions in [(queries @ chunk.T).topk(min(k, len(chunk)), dim=1)]
    ]
    _, order = torch.cat([scores for scores, _ in candidates], 1).topk(min(k, len(rows_ND)), dim=1)
    positions_Qk: np.ndarray = torch.cat([positions for _, positions in candidates], 1).gather(1, order).cpu().numpy()
    return positions_Qk


def search_rates(index: TorchIndex, dim: int, at_once: Sequence[int], topk: int) -> dict[int, float]:
    """Queries a second, by the number that are asked at once; rankings, not candidates alone."""
    from mrsearch.retrieval.indexes.ranking import rank

    queries = random_queries(max(at_once), dim)

    def seconds(count: int) -> float:
        return median_seconds(lambda: rank(index, queries[:count], topk))

    return {count: count / seconds(count) for count in at_once}


def random_queries(count: int, dim: int) -> np.ndarray:
    """Unit vectors [count, dim] of float32, always the same."""
    queries = np.random.default_rng(1).standard_normal((count, dim)).astype(np.float32)
    return queries / np.linalg.norm(queries, axis=1, keepdims=True)


def main(count: int, topk: int, dim: int, rows_without_gpu: int) -> None:
    """Print rows, device, whether the ranking is float64's, and queries a second as one JSON line."""
    import torch

    from mrsearch.retrieval.indexes.ranking import rank

    gpu = torch.cuda.is_available()
    device = "cuda:0" if gpu else "cpu"
    rows = random_rows(rows_that_fit(count, dim, device) if gpu else min(count, rows_without_gpu), dim, device)
    index, probe = TorchIndex.over(rows), random_queries(16, dim)
    true = best_by_float64(rows, probe, topk).tolist()
    positions = [ranking.positions for ranking in rank(index, probe, topk)]
    right = all(f == t[: len(f)] and f for f, t in zip(positions, true, strict=True))
    rates = search_rates(index, dim, (1, 64), topk)
    name = torch.cuda.get_device_name(0) if gpu else "cpu"
    sys.stdout.write(json.dumps({"rows": len(rows), "device": name, "right": right, "rates": rates}) + "\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
