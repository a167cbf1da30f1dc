"""One method's evaluation: every benchmark under every decoding, recorded question by question."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import itertools
import json
import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mrsearch.agent.agent import Agent, Request
from mrsearch.agent.answers import answers, drop_answers
from mrsearch.agent.interventions import swappable_texts
from mrsearch.agent.pieces import vocabulary_pieces
from mrsearch.agent.procedures import run_procedure
from mrsearch.agent.questions import read_questions
from mrsearch.agent.reasoning import ReasoningCounts, reasoning_shares
from mrsearch.agent.record_files import write_sealed_records
from mrsearch.agent.records import MetaEpisode, Question
from mrsearch.agent.renderer import Renderer
from mrsearch.agent.scoring import score
from mrsearch.agent.spec import AgentSpec
from mrsearch.config import Study, digest
from mrsearch.config.layout import RUN_FILE, cost_file, questions_file, record_file, score_file
from mrsearch.config.protocol import Decoding
from mrsearch.data.subsets import hashed_id
from mrsearch.evaluation import score_files
from mrsearch.evaluation.limits import check
from mrsearch.evaluation.score_files import write_scores
from mrsearch.evaluation.scores import score_record
from mrsearch.evaluation.suitability import doubts
from mrsearch.files import locked, publish_link, read_json, write_json
from mrsearch.progress import Meter
from mrsearch.runlog import content_hash, write_run
from mrsearch.seal import is_sealed, seal_file

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
    limit: int | None = None,
) -> None:
    """Write, for every benchmark and decoding, the records of its questions and a file of their scores, and
    `out/run.json`.

    `policy` is a Hugging Face folder, `questions` holds <benchmark>.parquet, `corpus` and `indexes` are the
    retriever's, `endpoint` tells where a served one is. `limit` asks only so many questions of each benchmark, the
    first by sha1 of the id, and stands in run.json then. What was finished before an interruption is taken from
    `cache`, which is removed at the end: with a server every question, else chunks of `evaluation.concurrency`. A
    second evaluation with the same cache waits for the first one. Records depend on the seed alone; times stand only
    in run.json, which describes the run as a training's does, with what each part took and with warnings about a
    model that does not fit.

    Raises ValueError for a limit below 1 or one that would replace an evaluation of more questions, when more searches
    fail or more questions run out of time than the study allows, and when questions and records do not match.
    """
    import torch

    study = study.of(method)
    torch.set_num_threads(study.resources.evaluate.threads)
    inputs = _inputs(study, method, policy, questions, corpus, indexes)
    _check_limit(limit, out)
    with locked(cache.with_name(f"{cache.name}.lock")) as waited:
        if waited and _finished(out, study, model, method, seed, inputs, limit):
            return log.info("%s: another process has just finished this evaluation", out)
        _evaluate(study, model, method, seed, inputs, questions, corpus, indexes, endpoint, out, cache, limit)


def _evaluate(
    study: Study,
    model: str,
    method: str,
    seed: int,
    inputs: Mapping[str, Path],
    questions: Path,
    corpus: Path,
    indexes: Path,
    endpoint: Path | None,
    out: Path,
    cache: Path,
    limit: int | None,
) -> None:
    from mrsearch.policy.serving import open_policy
    from mrsearch.retrieval.engine import engine_of

    started = time.monotonic()
    key = _inputs_key(study, model, method, seed, inputs, limit)
    files = {(b, d): record_file(cache / key, b, d) for b in study.benchmarks for d in study.evaluation.decoding}
    all_questions = {name: read_questions(questions_file(questions, name)) for name in study.benchmarks}
    questions_of = {name: _limited(all_questions[name], limit) for name in all_questions}
    warnings = doubts(study, model, inputs["policy"], _texts(questions_of))
    for warning in warnings:
        log.warning("%s", warning)
    todo = {(b, d): path for (b, d), path in files.items() if not _is_made(path.parent, b, d, len(questions_of[b]))}
    log.info("%s: %d of %d record files to make", method, len(todo), len(files))
    if todo:
        _forget_others(cache, key)
        engine = engine_of(study, method, corpus, indexes, endpoint)
        generator, longest = study.evaluation.generator, study.protocol.longest_sequence
        server_log, protocol = cache / key / "server.log", study.protocol
        with open_policy(
            generator,
            inputs["policy"],
            longest,
            server_log,
            closing=protocol.tags.closing,
            template=protocol.chat_template,
            job=("evaluate", study.resources.evaluate.gpus),
        ) as loaded:
            # Also those that a limit leaves out, so that it changes no answer.
            swappable = swappable_texts(itertools.chain.from_iterable(all_questions.values()))
            runner = _Runner(study, model, method, seed, loaded, engine, swappable)
            asyncio.run(runner.run_all(todo, questions_of))
    _publish(files, out)
    cells = {
        f"{benchmark}.{decoding}": json.loads(cost_file(path).read_text())
        for (benchmark, decoding), path in files.items()
    }
    timing = {
        "seconds": time.monotonic() - started,
        "parts": {name: cell.pop("seconds") for name, cell in cells.items()},
    }
    extra: dict[str, object] = {
        "model": model,
        "method": method,
        "parts": cells,
        "warnings": warnings,
        "timing": timing,
    }
    extra |= {} if limit is None else {"limit": limit}
    write_run(out / RUN_FILE, study=study, stage="evaluate", inputs=inputs, seeds=[seed], extra=extra)
    shutil.rmtree(cache, ignore_errors=True)


def _limited(questions: list[Question], limit: int | None) -> list[Question]:
    return questions if limit is None else sorted(questions, key=lambda question: hashed_id(question.id))[:limit]


def _check_limit(limit: int | None, out: Path) -> None:
    if limit is None:
        return
    if limit < 1:
        raise ValueError(f"limit ({limit}): an evaluation asks at least 1 question of each benchmark")
    run = read_json(out / RUN_FILE)
    before = run.get("limit") if isinstance(run, dict) else limit
    if not isinstance(before, int) or before > limit:
        count = str(before) if isinstance(before, int) else "all"
        raise ValueError(
            f"{out}: holds an evaluation of {count} questions, which limit ({limit}) would replace: name another folder"
        )


def _finished(
    out: Path, study: Study, model: str, method: str, seed: int, inputs: Mapping[str, Path], limit: int | None
) -> bool:
    """Whether `out` holds this very evaluation, whole."""
    run = read_json(out / RUN_FILE)
    pairs = itertools.product(study.benchmarks, study.evaluation.decoding)
    files = [file(out, *pair) for pair in pairs for file in (record_file, score_file)]
    if not isinstance(run, dict) or not all(file.is_file() for file in files):
        return False
    contents = {name: item["sha256"] for name, item in run["inputs"].items()}
    hashes = {name: content_hash(path) for name, path in inputs.items()}
    expected = (digest(study), model, method, [seed], hashes, limit)
    return (run["config_digest"], run["model"], run["method"], run["seeds"], contents, run.get("limit")) == expected


class _Runner:
    """One policy and one engine, and the files they make."""

    def __init__(
        self,
        study: Study,
        model: str,
        method: str,
        seed: int,
        policy: TorchPolicy | HttpPolicy,
        engine: OpenEngine | None,
        swappable: Mapping[str, Sequence[str]],
    ) -> None:
        self.study, self.policy, self.engine, self.seed = study, policy, engine, seed
        self.model, self.method = model, method
        self.pieces = vocabulary_pieces(policy.tokenizer)
        self.tags = {"study": study.name, "model": model, "method": method, "seed": seed}
        renderer = Renderer(policy.tokenizer, study.protocol)
        self.agent = Agent(policy, engine, AgentSpec.of(study, method), renderer, swappable=swappable)

    async def run_all(
        self, todo: Mapping[tuple[str, str], Path], questions_of: Mapping[str, Sequence[Question]]
    ) -> None:
        """Make every (benchmark, decoding) file of `todo`, one after the other, and close the engine."""
        try:
            for (benchmark, decoding), path in todo.items():
                await self._run(benchmark, decoding, questions_of[benchmark], path)
        finally:
            if self.engine is not None:
                await self.engine.aclose()
            await self.policy.aclose()

    async def _run(self, benchmark: str, decoding: str, questions: Sequence[Question], path: Path) -> None:
        """Answer the questions and write their records, and beside them what the answers cost."""
        started = time.monotonic()
        folder = path.with_name(f"{benchmark}.{decoding}.kept")
        settings = self.study.evaluation.decoding[decoding]
        records = await self._answer(benchmark, settings, decoding, questions, folder)
        for record in records:
            keys = {"decoding": decoding, "benchmark": benchmark}
            record.tags = {**record.tags, **self.tags, **keys, "scores": score_record(record)}
        try:
            counts = check(self.study, records, questions, f"{benchmark}, {decoding}")
        finally:
            drop_answers(folder)
        seconds = time.monotonic() - started
        path.parent.mkdir(parents=True, exist_ok=True)
        reasoning = (ReasoningCounts.of(record, self.study.protocol.tags) for record in records)
        shares = reasoning_shares(reasoning, self.study.methods[self.method].searches)
        costs = {"questions": len(records), "seconds": seconds, **counts, "reasoning": shares}
        write_json(cost_file(path), costs)
        scores = score_file(path.parent, benchmark, decoding)
        key = (self.model, self.method, self.seed, decoding, benchmark)
        seal_file(scores, scores, write_scores(self.study, key, records, scores))
        # The order in which parts of the questions are chosen: who reads a part reads the file's beginning.
        in_parts = sorted(records, key=lambda record: hashed_id(record.question.id))
        write_sealed_records(path, in_parts, self.pieces)
        log.info("%s, %s: %d questions in %.1f s", benchmark, decoding, len(records), seconds)

    async def _answer(
        self, benchmark: str, decoding: Decoding, name: str, questions: Sequence[Question], folder: Path
    ) -> list[MetaEpisode]:
        settings = self.study.evaluation
        with Meter(f"{self.method}: {benchmark}, {name}", len(questions)) as meter:
            scored = _Scored(meter)
            jobs = []
            for question in questions:
                request = Request(f"{benchmark}/{name}/{question.id}", self.seed, decoding.temperature, decoding.top_p)
                jobs.append((request.id, functools.partial(scored.run, question, self.agent, request)))
            whole_batches = settings.generator.whole_batches
            records = answers(jobs, self.policy, settings.concurrency, folder, meter, whole_batches=whole_batches)
            return list(await records)


class _Scored:
    """Runs meta-episodes and tells a meter how many of those that ran here ended right."""

    def __init__(self, meter: Meter) -> None:
        self.meter, self.right, self.count = meter, 0.0, 0

    async def run(self, question: Question, agent: Agent, request: Request) -> MetaEpisode:
        record = await run_procedure(question, agent, request)
        if record.episodes:
            self.right += score(record.episodes[-1].answer, question.golden_answers, "em")
        self.count += 1
        self.meter.note = f"EM {self.right / self.count:.1%}"
        return record


def _inputs(study: Study, method: str, policy: Path, questions: Path, corpus: Path, indexes: Path) -> dict[str, Path]:
    """What decides the records besides the settings, by name."""
    from mrsearch.retrieval.engine import described_by

    inputs = {"policy": policy}
    inputs |= {f"questions/{benchmark}": questions_file(questions, benchmark) for benchmark in study.benchmarks}
    return inputs | (described_by(study, corpus, indexes) if study.methods[method].searches else {})


def _inputs_key(study: Study, model: str, method: str, seed: int, inputs: Mapping[str, Path], limit: int | None) -> str:
    """Digest of everything that decides records and scores, so that no file of another run is taken for this one's."""
    described = [
        digest(study.protocol, study.retrieval, study.methods[method], model, method, seed),
        digest(study.name),
    ]
    described += [digest(name, decoding) for name, decoding in study.evaluation.decoding.items()]
    described += [digest(study.models[model]), str(study.evaluation.concurrency), digest(study.evaluation.generator)]
    described += [digest({name: benchmark.yes_no_rule for name, benchmark in study.benchmarks.items()})]
    described += [f"{name} {content_hash(path)}" for name, path in inputs.items()]
    described += [f"scores of version {score_files.VERSION}"]
    described += [] if limit is None else [f"limit {limit}"]
    return hashlib.sha256("\n".join(described).encode()).hexdigest()[:16]


def _texts(questions_of: Mapping[str, Sequence[Question]]) -> dict[str, list[str]]:
    return {benchmark: [question.question for question in questions] for benchmark, questions in questions_of.items()}


def _is_made(folder: Path, benchmark: str, decoding: str, count: int) -> bool:
    """Whether records, their scores and what they cost were made before, sealed."""
    records = record_file(folder, benchmark, decoding)
    sealed = is_sealed(records, count) and is_sealed(score_file(folder, benchmark, decoding), count)
    return sealed and isinstance(read_json(cost_file(records)), dict)


def _forget_others(cache: Path, key: str) -> None:
    for entry in cache.glob("*"):
        if entry.name != key:
            shutil.rmtree(entry)


def _publish(files: Mapping[tuple[str, str], Path], out: Path) -> None:
    """Every file of records, and of scores, in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    for (benchmark, decoding), path in files.items():
        for source in (path, score_file(path.parent, benchmark, decoding)):
            publish_link(source, out / source.name)
