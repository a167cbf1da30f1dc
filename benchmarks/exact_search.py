"""Exact search by one kernel against plain matrix products, side by side over random rows: right, and how fast.

    python benchmarks/exact_search.py                                              # on a GPU: 21,015,324 x 768, 32 GB
    TRITON_INTERPRET=1 python benchmarks/exact_search.py --rows 2000 --queries 1 16   # without one: its results

One JSON line a stage. `of_copy` is one read of all rows at the rate of a device's copy, over the time of the search.
Goals on a GPU: at least 0.8 of the copy's rate up to 64 queries at once, 10,000 queries/s from 256 on.
"""

# ruff: noqa: T201  (a script that prints its measurements)
from __future__ import annotations

import argparse
import json

import numpy as np
import torch

from mrsearch.rehearsal.search_rate import best_by_float64, median_seconds, random_queries, random_rows
from mrsearch.retrieval.indexes.ranking import rank
from mrsearch.retrieval.indexes.torch_index import TorchIndex

SHARE_OF_COPY, FEW = 0.8, 64
PER_SECOND, MANY = 10_000, 256
COPIED_BYTES = 4_000_000_000


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


def copied_per_second(device: str) -> float:
    """Bytes read and written."""
    first = torch.empty(COPIED_BYTES if device != "cpu" else COPIED_BYTES // 40, dtype=torch.uint8, device=device)
    second = torch.empty_like(first)

    def copy() -> None:
        second.copy_(first)
        second[:1].cpu()  # waits for it

    return 2 * len(first) / median_seconds(copy, 0.3)


def goal(count: int, seconds: float, floor: float) -> dict[str, object]:
    """Whether a goal is met, where there is one for so many queries."""
    if count <= FEW:
        return {"goal": f"of_copy >= {SHARE_OF_COPY}", "met": floor / seconds >= SHARE_OF_COPY}
    return {"goal": f"{PER_SECOND} queries/s", "met": count / seconds >= PER_SECOND} if count >= MANY else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    gpu = torch.cuda.is_available()
    parser.add_argument("--rows", type=int, default=21_015_324 if gpu else 20_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 16, 64, 256, 512, 1024] if gpu else [1, 16])
    parser.add_argument("--topk", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement, at least")
    chosen = parser.parse_args()
    device = "cuda:0" if gpu else "cpu"
    rate = copied_per_second(device)
    card = torch.cuda.get_device_name(0) if gpu else "cpu"
    say(stage="machine", card=card, torch=torch.__version__, copy_tb_s=rate / 1e12)
    rows = random_rows(chosen.rows, chosen.dim, device)
    fused, plain = TorchIndex.over(rows), TorchIndex.over(rows, fused=False)
    if not fused.fused:
        raise SystemExit("Triton does not run here: install envs/triton.lock.txt and set TRITON_INTERPRET=1")
    queries = random_queries(max(chosen.queries), chosen.dim)
    floor, k = rows.numel() * 2 / rate, min(chosen.topk + fused.margin, chosen.rows)
    probe = queries[:16]
    true = best_by_float64(rows, probe, chosen.topk)
    for name, index in (("fused", fused), ("plain", plain)):
        found = [ranking.positions for ranking in rank(index, probe, chosen.topk)]
        right = np.mean([f == [int(p) for p in t][: len(f)] for f, t in zip(found, true, strict=True)])
        say(stage="correct", way=name, queries=len(probe), as_float64=float(right))
    for count in chosen.queries:
        asked = queries[:count]
        seconds = {
            name: median_seconds(lambda index=index, asked=asked: index.search(asked, k), chosen.seconds)
            for name, index in (("fused", fused), ("plain", plain))
        }
        ranked = median_seconds(lambda asked=asked: rank(fused, asked, chosen.topk), chosen.seconds)
        facts = {f"{name}_ms": round(1e3 * each, 2) for name, each in seconds.items()}
        facts |= {"per_s": round(count / seconds["fused"]), "ranked_per_s": round(count / ranked)}
        facts |= {
            "of_copy": round(floor / seconds["fused"], 3),
            "plain_over_fused": seconds["plain"] / seconds["fused"],
        }
        say(stage="search", queries=count, k=k, **facts, **(goal(count, seconds["fused"], floor) if gpu else {}))


if __name__ == "__main__":
    main()
