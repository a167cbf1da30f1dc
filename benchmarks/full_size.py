"""The corpus at the paper's size, or at fractions of it: passage store, import of a published index, opening, search.

    python benchmarks/full_size.py [--passages 21015324] [--dim 768] [--approximate hnsw ivf_sq8 pq_refine] [--csv FILE]
    python benchmarks/full_size.py --passages 50000 100000 200000 --dim 128 --approximate hnsw --threads 1

Every stage runs in a process of its own, on made-up passages of about 90 words and random unit vectors, and prints one
JSON line: wall and CPU seconds, peak resident memory (that of the imports, 0.3 GB, is in it), bytes on disk. Then a
table: each measure at each size, and what the line through the smallest and the largest size says of the 21,015,324
passages of wiki-18, which is arithmetic and no measurement. At that size and 768 dimensions it takes 12 GB for the
store, 65 GB for the published vectors, 32 GB for each index, and hours for hnsw. `--csv` appends the lines to a file,
which `benchmarks/draw_scaling.py` draws.
"""

# ruff: noqa: T201  (a script that prints its measurements)
from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from measurements import add_row, in_a_child, size_of
from retrieval_common import corpus_rows, machine

WIKI_18 = 21_015_324
PARTS = 2
"""Files of the published index, which one after the other are one file."""
BLOCK = 65_536
QUERIES = 64
TOPK = 3
STAGES = ("store", "published", "import", "verify", "open", "search")


def study_of(dim: int, index: str, encoder: Path) -> Any:
    """A study with one dense retriever over `dim`-dimensional vectors of a local encoder."""
    from mrsearch.config import load_run, load_study

    dense = {"kind": "dense", "encoder": {"kind": "folder", "path": str(encoder)}, "index": index}
    overrides = {"retrieval.compared": [], "retrieval.retrievers": {"dense": dense}}
    return load_study(load_run({"study": "demo", "overrides": overrides}), Path(__file__).parents[1])


def make_encoder(folder: Path, dim: int) -> None:
    """An untrained encoder of one layer: only its dimension matters here."""
    from transformers import BertConfig, BertModel, BertTokenizer

    folder.mkdir(parents=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    shape = {"hidden_size": dim, "intermediate_size": dim, "num_hidden_layers": 1, "num_attention_heads": dim // 64}
    BertModel(BertConfig(vocab_size=len(vocabulary), **shape)).save_pretrained(folder)


def rows(count: int) -> Iterator[tuple[str, str, str]]:
    """So many passages; the texts of the first 20,000 return under other ids, since making texts takes longer than
    storing them."""
    texts = list(corpus_rows(min(count, 20_000)))
    return ((str(number), *texts[number % len(texts)][1:]) for number in range(count))


def unit_vectors(count: int, dim: int) -> Iterator[np.ndarray]:
    """Blocks of random vectors of length one."""
    rng = np.random.default_rng(0)
    for start in range(0, count, BLOCK):
        block = rng.standard_normal((min(BLOCK, count - start), dim), dtype=np.float32)
        yield block / np.linalg.norm(block, axis=1, keepdims=True)


def write_parts(folder: Path, count: int, dim: int) -> None:
    """An IndexFlatIP in two files, as large ones are published."""
    from mrsearch.retrieval.indexes.vector_file import header

    folder.mkdir()
    head = header(count, dim, "float32")
    limit, number = (len(head) + 4 * count * dim) // PARTS, 0
    file = (folder / "part0").open("wb")
    for block in (head, *(vectors.tobytes() for vectors in unit_vectors(count, dim))):
        file.write(block)
        if file.tell() > limit and number < PARTS - 1:
            file.close()
            number += 1
            file = (folder / f"part{number}").open("wb")
    file.close()


def stage(name: str, folder: Path, count: int, dim: int, index: str, threads: int) -> dict[str, Any]:
    """One stage in this process; returns what it tells beside its cost."""
    import faiss
    import torch

    from mrsearch.retrieval.indexes.manifest import verify
    from mrsearch.retrieval.indexes.passages import PassageStore, build_store
    from mrsearch.retrieval.indexes.prebuilt import import_index

    # A build that is told no number takes every core, or in some containers one.
    faiss.omp_set_num_threads(threads)
    torch.set_num_threads(threads)
    made = folder / index
    published = [folder / "published" / f"part{number}" for number in range(PARTS)]
    facts: dict[str, Any] = {}
    if name in ("open", "search", "import", "build"):
        study = study_of(dim, index, folder / "encoder")
    if name == "store":
        build_store(rows(count), folder / "corpus")
        facts["bytes"] = size_of(folder / "corpus")
    elif name == "published":
        write_parts(folder / "published", count, dim)
        facts["bytes"] = size_of(folder / "published")
    elif name in ("import", "build"):
        import_index(study, "dense", folder / "corpus", published, made)
        facts["bytes"] = size_of(made)
    elif name == "verify":
        facts["bytes"] = verify(made)
    else:
        facts |= opened(study, PassageStore(folder / "corpus"), made, name == "search")
    return facts


def opened(study: Any, store: Any, made: Path, search: bool) -> dict[str, Any]:
    """The index opened; with `search`, its seconds for one query and for many at once, after a first round."""
    from mrsearch.retrieval.indexes.dense import VECTORS, open_vector_index
    from mrsearch.retrieval.indexes.manifest import read_manifest
    from mrsearch.retrieval.indexes.vector_file import open_vectors

    config = study.retrieval.retrievers["dense"]
    began = time.perf_counter()
    manifest = read_manifest(made, "dense", config, store)
    vectors = open_vectors(made / VECTORS, len(store), manifest["dim"], manifest["dtype"])
    index = open_vector_index(config, made, vectors)
    facts = {"open_s": time.perf_counter() - began}
    if not search:
        return facts
    queries = next(iter(unit_vectors(QUERIES, manifest["dim"])))
    for batch in (1, QUERIES, 1, QUERIES):
        began = time.perf_counter()
        index.search(queries[:batch], TOPK)
        facts[f"seconds_for_{batch}"] = time.perf_counter() - began
    return facts


def measured(name: str, folder: Path, count: int, dim: int, index: str, threads: int) -> dict[str, Any]:
    """The line of a stage that ran in a process of its own, with so many threads."""
    answer = folder / "line.json"
    used = in_a_child(lambda: answer.write_text(json.dumps(stage(name, folder, count, dim, index, threads))))
    line = {"passages": count, "stage": name, "index": index, **json.loads(answer.read_text()), **used}
    print(json.dumps(line), flush=True)
    return line


def at_size(
    count: int, dim: int, approximate: Iterable[str], work: Path | None, threads: int
) -> Iterator[dict[str, Any]]:
    """Every stage at one size, in a folder that is removed afterwards."""
    folder = Path(tempfile.mkdtemp(dir=work))
    try:
        in_a_child(partial(make_encoder, folder / "encoder", dim))
        for name in STAGES:
            yield measured(name, folder, count, dim, "torch", threads)
        for index in approximate:
            yield measured("build", folder, count, dim, index, threads)
            yield measured("search", folder, count, dim, index, threads)
    finally:
        shutil.rmtree(folder)


def row(line: dict[str, Any], dim: int) -> dict[str, Any]:
    """A line as a row of the CSV file."""
    facts = {"cpu_s": line["cpu_s"], "wall_s": line["wall_s"], "peak_bytes": line["peak_bytes"]}
    return {"stage": label(line), "size": line["passages"], "dim": dim, "disk_bytes": line.get("bytes", ""), **facts}


def label(line: dict[str, Any]) -> str:
    """The stage, with the index unless it is the exact one."""
    return str(line["stage"] if line["index"] == "torch" else f"{line['stage']} {line['index']}")


def table(lines: list[dict[str, Any]]) -> None:
    """Each measure over size, its growth, and what the largest size's would be at wiki-18."""
    sizes = sorted({line["passages"] for line in lines})
    columns = "".join(f"{f'{count:,}':>14}" for count in sizes)
    print(f"\n{'':34}{columns}  at 21,015,324 (arithmetic)")
    by_measure: dict[tuple[str, str], dict[int, float]] = {}
    for line in lines:
        for key, value in line.items():
            if isinstance(value, float) or key.endswith("bytes"):
                by_measure.setdefault((label(line), key), {})[line["passages"]] = value
    for (name, key), values in by_measure.items():
        scale, unit = (1e-9, "GB") if key.endswith("bytes") else (1.0, "s")
        shown = "".join(f"{values[count] * scale:14.4g}" for count in sizes)
        print(f"{name + ': ' + key:34}{shown}  {extrapolated(values) * scale:,.3g} {unit}")


def extrapolated(values: dict[int, float]) -> float:
    """At the size of wiki-18, by the line through smallest and largest size, or through zero and the only one."""
    (low, first), (high, last) = min(values.items()), max(values.items())
    slope = last / high if low == high else (last - first) / (high - low)
    return last + slope * (WIKI_18 - high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, nargs="+", default=[WIKI_18])
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--approximate", nargs="*", default=["hnsw", "ivf_sq8", "pq_refine"])
    parser.add_argument("--work", type=Path, help="folder with room for all of it; default: the system's temporary one")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of each stage; default: one a core")
    parser.add_argument("--csv", type=Path, help="to append what was measured to")
    arguments = parser.parse_args()
    # Imported once: each stage's fork has it, and no stage's seconds are those of an import.
    for name in ("transformers.models.bert", "mrsearch.retrieval.indexes.prebuilt"):
        importlib.import_module(name)
    print(machine(), flush=True)
    lines = []
    for count in arguments.passages:
        for line in at_size(count, arguments.dim, arguments.approximate, arguments.work, arguments.threads):
            lines.append(line)
            add_row(arguments.csv, **row(line, arguments.dim))
    table(lines)


if __name__ == "__main__":
    main()
