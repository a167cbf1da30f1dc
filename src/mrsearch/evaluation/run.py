"""One method's evaluation: every benchmark under every decoding, recorded question by question."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrsearch.agent.agent import Agent, Request
from mrsearch.agent.baselines import run_procedure
from mrsearch.agent.dialogue import Dialogue
from mrsearch.agent.questions import read_questions
from mrsearch.agent.records import MetaEpisode, Question, write_records
from mrsearch.agent.spec import AgentSpec
from mrsearch.agent.waves import answer_in_waves, drop_waves
from mrsearch.config import Study, digest
from mrsearch.config.protocol import Decoding
from mrsearch.evaluation.limits import check
from mrsearch.evaluation.scores import score_record
from mrsearch.files import atomic_file, write_text

if TYPE_CHECKING:
    from mrsearch.policy.http_policy import HttpPolicy
    from mrsearch.policy.torch_policy import TorchPolicy
    from mrsearch.retrieval.engine import OpenEngine

log = logging.getLogger(__name__)


def evaluate(
    study: Study,
    model: str,
    method: str,
    seed: int,
    *,
    policy: Path,
    questions: Path,
    corpus: Path,
    indexes: Path,
    endpoint: Path | None,
    out: Path,
    cache: Path,
) -> None:
    """Write `out/<benchmark>.<decoding>.jsonl.gz`, a record per question with its scores, and `out/run.json`.

    `policy` is a Hugging Face folder, `questions` holds <benchmark>.parquet, `corpus` and `indexes` are the
    retriever's, `endpoint` tells where a served one is. What was finished before an interruption, in waves of
    `evaluation.concurrency` questions, is taken from `cache`, which is removed at the end. Records depend on the seed
    alone; times stand only in run.json.

    Raises ValueError when more searches fail or more questions run out of time than the study allows, or when questions
    and records do not match.
    """
    import torch

    from mrsearch.policy.serving import open_policy
    from mrsearch.retrieval.engine import open_engine

    torch.set_num_threads(study.resources.evaluate.threads)
    started = time.monotonic()
    key = _inputs_key(study, model, method, seed, policy, questions, indexes)
    files = {(b, d): cache / key / f"{b}.{d}.jsonl.gz" for b in study.benchmarks for d in study.evaluation.decoding}
    todo = {place: path for place, path in files.items() if not path.is_file()}
    log.info("%s: %d of %d record files to make", method, len(todo), len(files))
    if todo:
        _forget_others(cache, key)
        asked = {benchmark: read_questions(questions / f"{benchmark}.parquet") for benchmark in study.benchmarks}
        engine = open_engine(study, corpus, indexes, endpoint)
        generator, longest = study.evaluation.engine, study.protocol.context_tokens
        with open_policy(generator, policy, longest, cache / key / "server.log") as loaded:
            runner = _Runner(study, model, method, seed, loaded, engine)
            asyncio.run(runner.run_all(todo, asked))
    _publish(files, out, {"study": study.name, "model": model, "method": method, "seed": seed}, started)
    shutil.rmtree(cache, ignore_errors=True)


class _Runner:
    """One policy and one engine, and the files they make."""

    def __init__(
        self, study: Study, model: str, method: str, seed: int, policy: TorchPolicy | HttpPolicy, engine: OpenEngine
    ) -> None:
        self.study, self.policy, self.engine, self.seed = study, policy, engine, seed
        self.tags = {"study": study.name, "model": model, "method": method, "seed": seed}
        self.agent = Agent(policy, engine, AgentSpec.of(study, method), Dialogue(policy.tokenizer, study.protocol))

    async def run_all(self, todo: Mapping[tuple[str, str], Path], asked: Mapping[str, Sequence[Question]]) -> None:
        """Make every (benchmark, decoding) file of `todo`, one after the other, and close the engine."""
        try:
            for (benchmark, decoding), path in todo.items():
                await self._run(benchmark, decoding, asked[benchmark], path)
        finally:
            await self.engine.aclose()
            await self.policy.aclose()

    async def _run(self, benchmark: str, decoding: str, questions: Sequence[Question], path: Path) -> None:
        """Answer the questions and write their records, and beside them what the answers cost."""
        started = time.monotonic()
        waves = path.with_name(f"{benchmark}.{decoding}.waves")
        settings = self.study.evaluation.decoding[decoding]
        records = await self._answer(benchmark, settings, decoding, questions, waves)
        for record in records:
            place = {"decoding": decoding, "benchmark": benchmark}
            record.tags = {**record.tags, **self.tags, **place, "scores": score_record(record)}
        try:
            counts = check(self.study, records, questions, f"{benchmark}, {decoding}")
        finally:
            drop_waves(waves)
        seconds = time.monotonic() - started
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_json(_cost(path), {"questions": len(records), "seconds": seconds, **counts})
        write_records(path, records)
        log.info("%s, %s: %d questions in %.1f s", benchmark, decoding, len(records), seconds)

    async def _answer(
        self, benchmark: str, decoding: Decoding, name: str, questions: Sequence[Question], waves: Path
    ) -> list[MetaEpisode]:
        jobs = []
        for question in questions:
            request = Request(f"{benchmark}/{name}/{question.id}", self.seed, decoding.temperature, decoding.top_p)
            jobs.append((request.id, functools.partial(run_procedure, question, self.agent, request)))
        return await answer_in_waves(jobs, self.policy, self.study.evaluation.concurrency, waves)


def _inputs_key(study: Study, model: str, method: str, seed: int, policy: Path, questions: Path, indexes: Path) -> str:
    """Digest of everything that decides the records, so that no file of another run is taken for this one's."""
    described = [
        digest(study.protocol, study.retrieval, study.methods[method], model, method, seed),
        digest(study.name),
    ]
    described += [digest(name, decoding) for name, decoding in study.evaluation.decoding.items()]
    described += [digest(study.models[model]), str(study.evaluation.concurrency), digest(study.evaluation.engine)]
    hashed = [path for path in sorted(policy.rglob("*")) if path.is_file()]
    hashed += [questions / f"{benchmark}.parquet" for benchmark in study.benchmarks]
    hashed += sorted(indexes.rglob("index.json"))
    for path in hashed:
        with path.open("rb") as file:
            described.append(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}")
    return hashlib.sha256("\n".join(described).encode()).hexdigest()[:16]


def _forget_others(cache: Path, key: str) -> None:
    for other in cache.glob("*"):
        if other.name != key:
            shutil.rmtree(other)


def _cost(records: Path) -> Path:
    return records.with_name(records.name.removesuffix(".jsonl.gz") + ".cost.json")


def _publish(files: Mapping[tuple[str, str], Path], out: Path, summary: dict[str, Any], started: float) -> None:
    """Every record file in `out`, and run.json with what each part cost."""
    out.mkdir(parents=True, exist_ok=True)
    parts = {
        f"{benchmark}.{decoding}": json.loads(_cost(path).read_text()) for (benchmark, decoding), path in files.items()
    }
    for path in files.values():
        _place(path, out / path.name)
    _write_json(out / "run.json", {**summary, "parts": parts, "seconds": time.monotonic() - started})


def _place(source: Path, target: Path) -> None:
    """`source` at `target`, at once: a link to the same bytes where the disk allows it, else a copy."""
    with atomic_file(target) as part:
        try:
            os.link(source, part)
        except OSError:
            shutil.copyfile(source, part)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=2, sort_keys=True) + "\n")
