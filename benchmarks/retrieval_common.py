"""What the retrieval benchmarks share: a made-up corpus, an index over it, and a light load generator."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrsearch.config import Study, load_run, load_study
from mrsearch.retrieval.indexes.builder import vector_dtype
from mrsearch.retrieval.indexes.dense import VECTORS
from mrsearch.retrieval.indexes.encoder import load_encoder
from mrsearch.retrieval.indexes.manifest import write_manifest
from mrsearch.retrieval.indexes.passages import PassageStore, build_store
from mrsearch.retrieval.indexes.vector_file import VectorWriter
from mrsearch.runlog import processor

SYLLABLES = [a + b for a in "bcdfglmnprstv" for b in ("a", "e", "i", "o", "u", "an", "er", "or")]
EXTENSIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16", "i8mm")
REALLY_ENCODED = 1024
"""Passages that the encoder sees; the other vectors are noisy mixes of theirs (timing does not depend on values)."""


def words(rng: random.Random, count: int) -> str:
    """`count` made-up words with a skewed distribution."""
    chosen = (int(rng.paretovariate(0.8)) for _ in range(count))
    return " ".join(SYLLABLES[n % 104] + SYLLABLES[(n // 104 + 7 * n) % 104] for n in chosen)


def corpus_rows(count: int, lengths: tuple[int, int] = (60, 120)):
    """(id, title, text) of made-up passages of so many words, always the same."""
    rng = random.Random(0)
    for n in range(count):
        yield str(n), words(rng, 2), words(rng, rng.randint(*lengths))


def queries(count: int, seed: int) -> list[str]:
    """Different made-up queries of 8 to 12 words."""
    rng = random.Random(seed)
    return [f"{words(rng, rng.randint(8, 12))} {seed}x{n}" for n in range(count)]


def study(scan: str, dtype: str, **service: object) -> Study:
    """A study that serves MiniLM vectors over HTTP from the torch index, without a cache."""
    dense = {"kind": "dense", "encoder": {"kind": "minilm", "dtype": dtype}, "index": "torch", "scan": scan}
    overrides = {
        "retrieval.compared": [],
        "retrieval.retrievers": {"dense": dense},
        "retrieval.service": {"mode": "http", "cache_entries": 0, **service},
        "retrieval.topk": 3,
    }
    return load_study(load_run({"study": "demo", "overrides": overrides}), Path(__file__).parents[1])


def made_up_index(study: Study, corpus: Path, folder: Path) -> None:
    """An index over the corpus in the format of `mrsearch index build`, without encoding all of it."""
    if (folder / "index.json").exists():
        return
    config = study.retrieval.retrievers["dense"]
    assert config.kind == "dense"
    store, encoder = PassageStore(corpus), load_encoder(config.encoder, device="cpu")
    some = [store[n] for n in range(REALLY_ENCODED)]
    real = encoder.passages([p.title for p in some], [p.text for p in some])
    folder.mkdir(parents=True, exist_ok=True)
    writer = VectorWriter(folder / VECTORS, len(store), encoder.dim, vector_dtype(config), {})
    rng = np.random.default_rng(0)
    for start in range(0, len(store), 10_000):
        count = min(10_000, len(store) - start)
        mixed = real[rng.integers(0, len(real), count)] + 0.5 * real[rng.integers(0, len(real), count)]
        mixed += 0.02 * rng.standard_normal(mixed.shape).astype(np.float32)
        writer.write(start, mixed / np.linalg.norm(mixed, axis=1, keepdims=True))
    writer.commit(len(store))
    (folder / "journal.json").unlink()
    facts = {"dim": encoder.dim, "dtype": vector_dtype(config), "encoder": encoder.fingerprint}
    write_manifest(folder, "dense", config, store, **facts)


def prepare(work: Path, passages: int) -> tuple[Path, Path]:
    """Corpus folder and indexes folder for so many passages."""
    corpus = work / f"corpus-{passages}"
    if not corpus.exists():
        build_store(corpus_rows(passages), corpus)
    return corpus, work / f"indexes-{passages}"


@dataclass
class Load:
    """What a round of load measured."""

    count: int
    per_second: float
    p50: float
    p99: float


def load(url: str, clients: int, seconds: float, seed: int, bearer: str | None = None) -> Load:
    """`clients` connections, one query a request, each sending the next as soon as it has its answer."""
    return asyncio.run(_load(url, clients, seconds, seed, f"Authorization: Bearer {bearer}\r\n" if bearer else ""))


async def _load(url: str, clients: int, seconds: float, seed: int, header: str) -> Load:
    host, port = url.removeprefix("http://").split(":")
    asked = iter(queries(200_000 if clients > 1 else 20_000, seed))
    latencies: list[float] = []
    begun = time.perf_counter()
    deadline = begun + seconds

    async def client() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        while time.perf_counter() < deadline:
            start = time.perf_counter()
            answer = await _post(reader, writer, {"queries": [next(asked)], "topk": 3, "return_scores": True}, header)
            latencies.append(time.perf_counter() - start)
            assert len(answer["result"][0]) == 3
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    elapsed = time.perf_counter() - begun
    return Load(
        len(latencies),
        len(latencies) / elapsed,
        float(np.percentile(latencies, 50)),
        float(np.percentile(latencies, 99)),
    )


async def _post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: dict, header: str) -> dict:
    payload = json.dumps(body).encode()
    head = "POST /retrieve HTTP/1.1\r\nHost: l\r\nContent-Type: application/json\r\n"
    head += f"{header}Content-Length: {len(payload)}\r\n\r\n"
    writer.write(head.encode() + payload)
    headers = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    assert headers.split()[1] == "200", headers
    length = int(headers.split("content-length:")[1].split()[0])
    return json.loads(await reader.readexactly(length))


def machine() -> str:
    """One line about where this ran. Ratios depend on the processor: only some multiply bfloat16."""
    model = f"{processor()} with {' '.join(extensions()) or 'extensions unknown'}"
    return f"{model}, {os.cpu_count()} CPUs, load average {os.getloadavg()[0]:.1f}"


def extensions() -> list[str]:
    """Those of the processor's instructions, as the system names them, that arithmetic on vectors and matrices uses."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    flags = next((line.split() for line in lines if line.startswith(("flags", "Features"))), [])
    return [name for name in EXTENSIONS if name in flags]
