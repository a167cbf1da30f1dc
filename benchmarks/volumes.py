"""Volumes of the paper study: writing and reading records of real shape, and metrics of as many as it has.

`records` plays methods of the study with a scripted policy, a real tokenizer and real passages, and prints records a
second of CPU, bytes a record, and their ratios to what the same lists and texts cost as gzipped JSON (version 1); with
`--sizes` also CPU seconds and peak memory of writing and reading files of so many of the last method's. `metrics`
makes files of scores for a share of the study's questions and prints CPU seconds and peak memory of `mrsearch report
metrics`, and of the aggregation alone. `viewer` makes files of records and scores of a share and prints the same of
`mrsearch report viewer`. `--csv` appends what was measured over size to a file that `benchmarks/draw_scaling.py` draws.

    python benchmarks/volumes.py records --tokenizer FOLDER --corpus corpus.jsonl.gz
    python benchmarks/volumes.py metrics --share 0.1 --seeds 1
    python benchmarks/volumes.py viewer --share 0.1 --tokenizer FOLDER --corpus corpus.jsonl.gz
"""

# ruff: noqa: T201  (a script that prints its measurements)
from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import math
import os
import random
import resource
import sys
import tempfile
import time
import zlib
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from measurements import add_row, in_a_child, size_of

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support.made_up import made_record

from mrsearch.agent.agent import Agent, Request
from mrsearch.agent.pieces import vocabulary_pieces
from mrsearch.agent.ports import Finish, Generation, Hit, Passage
from mrsearch.agent.procedures import run_procedure
from mrsearch.agent.record_files import read_records, write_records
from mrsearch.agent.records import MetaEpisode, Question
from mrsearch.agent.renderer import Renderer
from mrsearch.agent.spec import AgentSpec
from mrsearch.config import Study, load_run, load_study
from mrsearch.config.layout import all_record_files, all_score_files
from mrsearch.data.subsets import hashed_id
from mrsearch.evaluation import aggregates
from mrsearch.evaluation.metrics import cells, write_metrics
from mrsearch.evaluation.score_files import KEY_TAGS, METADATA, write_scores
from mrsearch.evaluation.scores import score_record
from mrsearch.policy.tokenizer import load_tokenizer
from mrsearch.reporting.viewer import StudyRecords, write_viewer
from mrsearch.runlog import processor

QUESTIONS = {
    "nq": 3610,
    "triviaqa": 11313,
    "popqa": 14267,
    "hotpotqa": 7405,
    "2wikimultihopqa": 12576,
    "musique": 2417,
    "bamboogle": 125,
    "asearcher": 1399,
}
"""Of each benchmark of the paper study: 53,112."""
TURN_TOKENS, TURN_SPREAD = 90, 0.6
"""Median of a turn's length, and its spread on a logarithmic scale."""
SEARCHING = (0.95, 0.55, 0.05)
"""Probability that the first, second, third turn of an episode searches."""
POOL = 64
"""Rows of scores, and records, that are drawn from."""
FRAME, WRITTEN = 512, 128
"""Records in a file's largest frames, and those that are made for each file: more than a viewer shows."""
REPEATS = 3


def passages(corpus: Path) -> list[Passage]:
    with gzip.open(corpus, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    split = ((row["id"], *row["contents"].partition("\n")) for row in rows)
    return [Passage(key, title.strip('"'), text) for key, title, _, text in split]


class RandomEngine:
    """Passages at random, the same for the same query."""

    def __init__(self, corpus: list[Passage]) -> None:
        self.corpus = corpus

    async def search(self, query: str, topk: int) -> list[Hit]:
        rng = random.Random(query)
        scores = (float(np.float32(0.9 - 0.02 * rank - 0.01 * rng.random())) for rank in range(topk))
        return [Hit(rng.choice(self.corpus), score) for score in scores]


class ScriptedPolicy:
    """Turns of a passage's words, three of four tokens nearly sure, as a trained policy's are."""

    def __init__(self, tokenizer, corpus: list[Passage]) -> None:
        self.tokenizer, self.corpus = tokenizer, corpus
        self.thoughts = [tokenizer.encode(passage.text) for passage in corpus[:3000]]
        self.turns: dict[str, int] = {}

    async def generate(self, context, sampling, request_id) -> Generation:
        turn = self.turns[request_id] = self.turns.get(request_id, -1) + 1
        rng = random.Random(f"{request_id}/{turn}")
        length = max(8, int(TURN_TOKENS * math.exp(rng.gauss(0, TURN_SPREAD))))
        thought = [token for _ in range(1 + length // 80) for token in rng.choice(self.thoughts)][:length]
        words = rng.choice(self.corpus).text.split()
        action = f"<search> {' '.join(words[: rng.randint(4, 12)])} </search>"
        if rng.random() > SEARCHING[turn % 3]:
            action = f"<answer> {rng.choice(self.corpus).title} </answer>"
        token_ids = [*self.tokenizer.encode("<think> "), *thought, *self.tokenizer.encode(f" </think>\n{action}")]
        token_ids = token_ids[: sampling.max_tokens]
        numbers = np.random.default_rng(zlib.crc32(f"{request_id}/{turn}".encode()))
        count = len(token_ids)
        sure = numbers.random(count) < 0.75
        logprobs = -np.where(sure, numbers.exponential(0.003, count), numbers.exponential(0.9, count))
        return Generation(token_ids, logprobs.astype(np.float32).astype(float).tolist(), Finish.stop)


def play(study: Study, method: str, tokenizer, corpus: list[Passage], count: int) -> list[MetaEpisode]:
    """Meta-episodes of a method, tagged and scored as an evaluation's."""
    spec, renderer = AgentSpec.of(study, method), Renderer(tokenizer, study.protocol)
    agent = Agent(ScriptedPolicy(tokenizer, corpus), RandomEngine(corpus), spec, renderer)

    async def answer() -> list[MetaEpisode]:
        asked = [Question(f"test_{n}", f"Who is {corpus[n].title}?", (corpus[n].title,), "nq") for n in range(count)]
        return [await run_procedure(question, agent, Request(question.id)) for question in asked]

    metas = asyncio.run(answer())
    tags = {"study": study.name, "model": "qwen2.5-3b", "method": method, "seed": 0, "decoding": "greedy"}
    for meta in metas:
        meta.tags = {**tags, "benchmark": "nq", "scores": score_record(meta)}
    return metas


def measured(work) -> float:
    """The least CPU seconds of a few repetitions."""
    seconds = []
    for _ in range(REPEATS):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return min(seconds)


def records(arguments: argparse.Namespace) -> None:
    study = load_study(load_run({"study": "paper"}))
    tokenizer, corpus = load_tokenizer(arguments.tokenizer), passages(arguments.corpus)
    pieces = vocabulary_pieces(tokenizer)
    print(f"on {processor()}, {REPEATS} repetitions, the fastest counts")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for method in arguments.methods:
            metas, path = play(study, method, tokenizer, corpus, arguments.count), folder / "records"
            print(f"{method}: {len(metas)} records of {np.mean([len(meta.token_ids) for meta in metas]):.0f} tokens")
            started = time.process_time()
            lines = [json.dumps(asdict(meta), ensure_ascii=False, separators=(",", ":")) for meta in metas]
            packed = gzip.compress("\n".join(lines).encode())
            first = time.process_time() - started, len(packed)
            show("version 1, as it was", len(metas), *first, first)
            for name, known in (("as an evaluation", pieces), ("with texts written out", None)):
                seconds = measured(lambda path=path, metas=metas, known=known: write_records(path, metas, known))
                show(f"{name}, written", len(metas), seconds, path.stat().st_size, first)
                seconds = measured(lambda path=path: sum(1 for _ in read_records(path)))
                show(f"{name}, read", len(metas), seconds, path.stat().st_size, first)
            assert len(list(read_records(path))) == len(metas)
        if arguments.sizes:
            over_size(metas, pieces, arguments, folder)


def show(name: str, count: int, seconds: float, size: int, first: tuple[float, int]) -> None:
    print(
        f"  {name}: {count / seconds:,.0f} records a second of CPU ({first[0] / seconds:.1f} x), "
        f"{size / count:,.0f} bytes a record ({size / first[1]:.2f} x)",
        flush=True,
    )


def over_size(pool: list[MetaEpisode], pieces, arguments: argparse.Namespace, folder: Path) -> None:
    """Writing and reading files of records drawn from a pool, each with lists of its own, as an evaluation holds all of
    a benchmark's in memory when it writes their file. Repeated records pack better than as many different ones."""
    for size in sorted(arguments.sizes):
        metas = [with_own_lists(pool[n % len(pool)]) for n in range(size)]
        used = in_a_child(partial(write_records, folder / str(size), metas, pieces))
        disk = (folder / str(size)).stat().st_size
        tell(arguments, stage="records written", size=size, disk_bytes=disk, **used)
    del metas
    for size in sorted(arguments.sizes):
        used = in_a_child(partial(consume, folder / str(size)))
        tell(arguments, stage="records read", size=size, disk_bytes=(folder / str(size)).stat().st_size, **used)


def with_own_lists(meta: MetaEpisode) -> MetaEpisode:
    return replace(
        meta,
        token_ids=list(meta.token_ids),
        loss_mask=list(meta.loss_mask),
        episode_ids=list(meta.episode_ids),
        logprobs=[value + 0.0 for value in meta.logprobs],
    )


def consume(path: Path) -> None:
    for _ in read_records(path):
        pass


def tell(arguments: argparse.Namespace, **row) -> None:
    print(
        f"{row['size']:,} {row['stage']}: {row['cpu_s']:.2f} s CPU, at most {row['peak_bytes'] / 1e9:.2f} GB",
        flush=True,
    )
    add_row(arguments.csv, **row)


def make_scores(study: Study, folder: Path, share: float) -> int:
    """Files of scores for a share of each benchmark's questions; rows are drawn from a pool. Returns the rows."""
    total, pools = 0, {}
    for number, (key, path) in enumerate(all_score_files(study, folder).items()):
        _, method, _, _, benchmark = key
        if method not in pools:
            metas = [made_record(study, key, row) for row in range(POOL)]
            write_scores(study, key, metas, folder / "pool.parquet")
            pools[method] = pq.read_table(folder / "pool.parquet", partitioning=None)
        count = max(2, round(QUESTIONS[benchmark] * share))
        drawn = np.random.default_rng(number).integers(0, POOL, count)
        table = pools[method].take(pa.array(drawn))
        ids = pa.array(sorted(f"test_{n}" for n in range(count)))
        columns = {
            "question_id": ids,
            **{name: pa.repeat(value, count) for name, value in zip(KEY_TAGS, key, strict=True)},
        }
        for name, values in columns.items():
            table = table.set_column(table.column_names.index(name), name, values)
        written = json.loads(table.schema.metadata[METADATA]) | dict(zip(KEY_TAGS, key, strict=True))
        path.parent.mkdir(parents=True, exist_ok=True)
        table = table.replace_schema_metadata({METADATA: json.dumps(written | settings(study, key))})
        pq.write_table(table, path, compression="zstd")
        total += count
    return total


def settings(study: Study, key: tuple[str, str, int, str, str]) -> dict[str, object]:
    """What a file of scores says beside its place, where it differs from the pool's."""
    return {"yes_no_rule": study.benchmarks[key[4]].yes_no_rule}


def metrics(arguments: argparse.Namespace) -> None:
    study = load_study(load_run({"study": "paper", "seeds": list(range(arguments.seeds))}))
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        rows = make_scores(study, folder / "eval", arguments.share)
        size = sum(path.stat().st_size for path in folder.rglob("*.scores.parquet"))
        print(f"{rows:,} records, {arguments.seeds} seeds, {size / 1e6:,.0f} MB of scores", flush=True)
        for label, work in (("report metrics", report), ("aggregation alone", aggregate)):
            used = in_a_child(partial(work, study, folder))
            print(f"  {label}: {used['cpu_s']:,.1f} s CPU, at most {used['peak_bytes'] / 1e9:.2f} GB", flush=True)
            add_row(arguments.csv, stage=label, size=rows, disk_bytes=size, **used)
        print(f"  (this script itself: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB)")


def report(study: Study, folder: Path) -> None:
    write_metrics(study, folder / "eval", folder / "scores.parquet", folder / "metrics.parquet")
    print(f"  scores.parquet: {(folder / 'scores.parquet').stat().st_size / 1e6:,.0f} MB")


def aggregate(study: Study, folder: Path) -> None:
    """Reading scores is in it, writing them is not."""
    stream = cells(study, all_score_files(study, folder / "eval"), lambda table: None)
    started, reading = time.process_time(), 0.0

    def timed():
        nonlocal reading
        while True:
            began = time.process_time()
            cell = next(stream, None)
            reading += time.process_time() - began
            if cell is None:
                return
            yield cell

    rows = sum(1 for _ in aggregates.aggregate(study, timed()))
    seconds = time.process_time() - started
    print(f"  {rows:,} rows of metrics in {seconds - reading:,.1f} s CPU, and {reading:,.1f} s to read scores")


def frames(content: bytes) -> list[bytes]:
    """The frames of a file of records, as they are packed."""
    packed = []
    while content:
        decompressor = zstandard.ZstdDecompressor().decompressobj()
        decompressor.decompress(content)
        length = len(content) - len(decompressor.unused_data)
        packed.append(content[:length])
        content = content[length:]
    return packed


def make_records(study: Study, folder: Path, share: float, pools: dict[int, list[MetaEpisode]], pieces) -> None:
    """Files of records for a share of each benchmark's questions, as evaluations order them.

    Those that a viewer may show are written one by one, with the ids that the scores have; behind them one frame of
    records is repeated until the file has its size, rounded up to frames. Methods with as many episodes share a file.
    The repeated frame holds records several times, and takes a third of the bytes that as many different ones take.
    """
    repeated = {}
    for number, pool in pools.items():
        write_records(folder / "pool", [pool[n % len(pool)] for n in range(FRAME)], pieces)
        repeated[number] = max(frames((folder / "pool").read_bytes()), key=len)
    made: dict[tuple[int, str], Path] = {}
    for key, path in all_record_files(study, folder).items():
        kind = min(study.methods[key[1]].episodes, max(pools)), key[4]
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind in made:
            os.link(made[kind], path)
            continue
        made[kind] = path
        count = max(2, round(QUESTIONS[key[4]] * share))
        ids = sorted((f"test_{n}" for n in range(count)), key=hashed_id)[:WRITTEN]
        pool, tags = pools[kind[0]], dict(zip(KEY_TAGS, key, strict=True))
        write_records(path, (_renamed(pool[n % len(pool)], name, tags) for n, name in enumerate(ids)), pieces)
        *first, _ = frames(path.read_bytes())
        more = math.ceil((count - len(ids)) / FRAME)
        last = json.dumps({"records": len(ids) + more * FRAME}).encode()
        with path.open("wb") as file:
            file.writelines([*first, *[repeated[kind[0]]] * more])
            file.write(zstandard.ZstdCompressor().compress(last + b"\n"))


def _renamed(meta: MetaEpisode, name: str, tags: dict[str, object]) -> MetaEpisode:
    question = replace(meta.question, id=name, benchmark=str(tags["benchmark"]))
    return replace(meta, question=question, tags={**meta.tags, **tags})


def viewer(arguments: argparse.Namespace) -> None:
    study = load_study(load_run({"study": "paper", "seeds": list(range(arguments.seeds))}))
    tokenizer, corpus = load_tokenizer(arguments.tokenizer), passages(arguments.corpus)
    pieces = vocabulary_pieces(tokenizer)
    pools = {
        episodes: play(study, method, tokenizer, corpus, POOL)
        for method, episodes in (("search_r1", 1), ("mr_search", study.methods["mr_search"].episodes))
    }
    for share in arguments.share:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
            folder = Path(name)
            rows = make_scores(study, folder / "eval", share)
            make_records(study, folder / "eval", share, pools, pieces)
            size = size_of(folder / "eval")
            used = in_a_child(partial(write_viewer, [StudyRecords(study, folder / "eval")], folder / "viewer"))
            page = size_of(folder / "viewer")
        print(
            f"{rows:,} records, {arguments.seeds} seeds, {size / 1e9:.2f} GB: {used['cpu_s']:,.1f} s CPU, "
            f"{used['wall_s']:,.1f} s, at most {used['peak_bytes'] / 1e9:.2f} GB, a page of {page / 1e6:,.0f} MB",
            flush=True,
        )
        add_row(arguments.csv, stage="report viewer", size=rows, disk_bytes=size, **used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("records")
    one.add_argument("--tokenizer", type=Path, required=True, help="folder of a model such as Qwen2.5")
    one.add_argument("--corpus", type=Path, required=True, help="passages, gzipped jsonl of id and contents")
    one.add_argument("--methods", nargs="+", default=["mr_search", "search_r1"])
    one.add_argument("--count", type=int, default=512)
    one.add_argument("--sizes", type=int, nargs="*", default=[], help="records of files that are measured over size")
    one.add_argument("--csv", type=Path, help="to append what was measured over size to")
    one.set_defaults(run=records)
    two = commands.add_parser("metrics")
    two.add_argument("--share", type=float, default=0.1, help="of the questions of the paper study")
    two.add_argument("--seeds", type=int, default=1)
    two.add_argument("--folder", type=Path, help="for the files of scores; a temporary one")
    two.set_defaults(run=metrics)
    two.add_argument("--csv", type=Path, help="to append what was measured to")
    three = commands.add_parser("viewer")
    three.add_argument("--tokenizer", type=Path, required=True, help="folder of a model such as Qwen2.5")
    three.add_argument("--corpus", type=Path, required=True, help="passages, gzipped jsonl of id and contents")
    three.add_argument("--share", type=float, nargs="+", default=[0.1], help="of the questions of the paper study")
    three.add_argument("--seeds", type=int, default=1)
    three.add_argument("--folder", type=Path, help="for the files of records: 9 kB each; a temporary one")
    three.add_argument("--csv", type=Path, help="to append what was measured to")
    three.set_defaults(run=viewer)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
