"""The index builder against a plain loop, and its memory at two corpus sizes.

    python benchmarks/retrieval_build.py [--passages 256] [--rounds 3] [--memory 20000 200000]

Speed: MiniLM over the same passages, the builder's encoder (bfloat16, sorted by length) against a float32 loop in
corpus order, batches of 128, alternating; ratios of wall and of CPU time, medians over rounds.
Memory: peak resident size of a process that builds a whole index (bag of words, 384 dimensions), encoder included.
"""

# ruff: noqa: T201  (a script that prints its measurements)
from __future__ import annotations

import argparse
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from retrieval_common import corpus_rows, machine


def plain_loop(titles: list[str], texts: list[str], batch: int = 128):
    """What published builders do: float32, the corpus's order, every batch padded to its longest passage."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    from mrsearch.retrieval.indexes.encoder import _minilm_folder

    folder = _minilm_folder()
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    @torch.no_grad()
    def run() -> None:
        for start in range(0, len(texts), batch):
            joined = [
                f"{t}\n{x}" for t, x in zip(titles[start : start + batch], texts[start : start + batch], strict=True)
            ]
            inputs = tokenizer(joined, padding=True, truncation=True, max_length=256, return_tensors="pt")
            hidden = model(**inputs).last_hidden_state
            mask = inputs["attention_mask"][..., None]
            torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1).numpy()

    return run


def builder(titles: list[str], texts: list[str]):
    """The builder's encoder as `mrsearch index build` calls it."""
    from mrsearch.config.retrieval import Encoder
    from mrsearch.retrieval.indexes.encoder import load_encoder

    encoder = load_encoder(Encoder(kind="minilm", dtype="bfloat16"), device="cpu")
    return lambda: encoder.passages(titles, texts)


def speed(passages: int, rounds: int) -> None:
    """Print both rates and their ratios."""
    rows = list(corpus_rows(passages, lengths=(20, 180)))
    titles, texts = [row[1] for row in rows], [row[2] for row in rows]
    runs = {"float32 loop": plain_loop(titles, texts), "builder": builder(titles, texts)}
    wall: dict[str, list[float]] = {name: [] for name in runs}
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            begun, spent = time.perf_counter(), time.process_time()
            run()
            wall[name].append(time.perf_counter() - begun)
            cpu[name].append(time.process_time() - spent)
            print(f"{name:14} {passages / wall[name][-1]:6.1f} passages/s, {cpu[name][-1]:6.1f} CPU s", flush=True)
    for what, times in (("wall", wall), ("CPU", cpu)):
        ratios = [a / b for a, b in zip(times["float32 loop"], times["builder"], strict=True)]
        spread = f"rounds {min(ratios):.2f} to {max(ratios):.2f}"
        print(f"builder to loop, {what} time: {statistics.median(ratios):.2f}x faster ({spread})")


def build_and_report(passages: int) -> None:
    """Build one index and print this process's peak resident megabytes."""
    from mrsearch.config import load_run, load_study
    from mrsearch.retrieval.indexes.index import build_index
    from mrsearch.retrieval.indexes.passages import build_store

    rng = random.Random(0)
    words = [f"w{n}" for n in range(384)]
    rows = ((str(n), "w0", " ".join(rng.choices(words, k=20))) for n in range(passages))
    dense = {"kind": "dense", "encoder": {"kind": "bow"}, "shard_passages": 10_000}
    study = load_study(
        load_run({"study": "demo", "overrides": {"retrieval.compared": [], "retrieval.retrievers": {"dense": dense}}}),
        Path(__file__).parents[1],
    )
    with tempfile.TemporaryDirectory() as folder:
        build_store(rows, Path(folder) / "corpus")
        build_index(study, "dense", Path(folder) / "corpus", Path(folder) / "dense")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def memory(small: int, large: int) -> None:
    """Print peak memory at two sizes and the ratio."""
    peaks = []
    for passages in (small, large):
        done = subprocess.run(
            [sys.executable, __file__, "--build", str(passages)], check=True, capture_output=True, text=True
        )
        peaks.append(float(done.stdout.split()[-1]))
        print(f"{passages} passages: peak resident {peaks[-1]:.0f} MB", flush=True)
    print(f"peak at {large} is {peaks[1] / peaks[0]:.2f}x that at {small}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, nargs=2, default=[20_000, 200_000])
    parser.add_argument("--build", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.build:
        build_and_report(arguments.build)
        return
    print(machine())
    memory(*arguments.memory)
    speed(arguments.passages, arguments.rounds)


if __name__ == "__main__":
    main()
