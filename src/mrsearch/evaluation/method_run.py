"""One method's evaluation: what it reads, what it still has to answer, and what it publishes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mrsearch.agent.interventions import swappable_texts
from mrsearch.agent.questions import read_questions
from mrsearch.agent.records import Question
from mrsearch.config import Study, digest, stages
from mrsearch.config.layout import RUN_FILE, cost_file, questions_file, record_file, score_file
from mrsearch.data.subsets import hashed_id
from mrsearch.evaluation import score_files
from mrsearch.evaluation.folders import EvaluationInputs, MethodFolders
from mrsearch.evaluation.method_answers import MethodAnswers
from mrsearch.evaluation.suitability import doubts
from mrsearch.files import publish_link, read_json
from mrsearch.runlog import content_hash, write_run
from mrsearch.seal import is_sealed

if TYPE_CHECKING:
    from mrsearch.policy.http_policy import HttpPolicy
    from mrsearch.policy.torch_policy import TorchPolicy

log = logging.getLogger(__name__)


class MethodRun:
    """The evaluation of one method on every benchmark under every decoding."""

    def __init__(
        self,
        study: Study,
        model: str,
        method: str,
        seed: int,
        read: EvaluationInputs,
        folders: MethodFolders,
        limit: int | None,
    ) -> None:
        """ValueError for a limit below 1 or one that would replace an evaluation of more questions."""
        self.study, self.model, self.method, self.seed, self.limit = study.of(method), model, method, seed, limit
        self.folders, self._read = folders, read
        self.inputs = _inputs(self.study, method, read)
        self.seconds = 0.0
        """Wall time that it took so far, the policy's start left out."""
        _check_limit(limit, folders.out)

    @property
    def lock(self) -> Path:
        """File that one process at a time locks to make this evaluation."""
        return self.folders.cache.with_name(f"{self.folders.cache.name}.lock")

    @property
    def server_log(self) -> Path:
        """Where a generation server that is started for it writes."""
        return self._folder / "server.log"

    def is_finished(self) -> bool:
        """Whether this very evaluation was published: same settings, same inputs, every file there."""
        out = self.folders.out
        run = read_json(out / RUN_FILE)
        files = [file(out, *pair) for pair in self._pairs for file in (record_file, score_file)]
        if not isinstance(run, dict) or not all(file.is_file() for file in files):
            return False
        contents = {name: item["sha256"] for name, item in run["inputs"].items()}
        names = (run["study"], run["model"], run["method"], run["seeds"], run.get("limit"))
        expected = (self.study.name, self.model, self.method, [self.seed], self.limit)
        hashes = {name: content_hash(path) for name, path in self.inputs.items()}
        return (names, run.get("settings"), contents) == (expected, self._settings, hashes)

    def prepare(self) -> bool:
        """Read the questions and look at the cache; whether anything has to be answered."""
        with self._timed():
            files, questions_of = self._files, self._questions_of
            todo = {(b, d): path for (b, d), path in files.items() if not _is_made(path, b, d, len(questions_of[b]))}
            self._todo = todo
            for warning in self._warnings:
                log.warning("%s", warning)
            log.info("%s: %d of %d record files to make", self.method, len(todo), len(files))
            if todo:
                _forget_others(self.folders.cache, self._folder.name)
        return bool(todo)

    def answer(self, policy: TorchPolicy | HttpPolicy) -> None:
        """Make every file that is missing in the cache. ValueError when more searches fail or more questions run out of
        time than the study allows, and when questions and records do not match."""
        from mrsearch.retrieval.engine import engine_of

        with self._timed():
            read = self._read
            engine = engine_of(self.study, self.method, read.corpus, read.indexes, self.folders.endpoint)
            # Also those that a limit leaves out, so that it changes no answer.
            swappable = swappable_texts(itertools.chain.from_iterable(self._all_questions.values()))
            answers = MethodAnswers(self.study, self.model, self.method, self.seed, policy, engine, swappable)
            asyncio.run(answers.run_all(self._todo, self._questions_of))

    def publish(self, job: Mapping[str, object]) -> None:
        """Every file in `out`, last run.json, in which `job` stands among the times. The cache stays."""
        with self._timed():
            self._publish_files()
            cells = {f"{b}.{d}": json.loads(cost_file(path).read_text()) for (b, d), path in self._files.items()}
        seconds_of = {name: cell.pop("seconds") for name, cell in cells.items()}
        timing = {"seconds": self.seconds, "parts": seconds_of, "job": job}
        names = {"model": self.model, "method": self.method, "settings": self._settings}
        extra: dict[str, object] = {**names, "parts": cells, "warnings": self._warnings, "timing": timing}
        extra |= {} if self.limit is None else {"limit": self.limit}
        path, seeds = self.folders.out / RUN_FILE, [self.seed]
        write_run(path, study=self.study, stage="evaluate", inputs=self.inputs, seeds=seeds, extra=extra)

    def forget(self) -> None:
        """Remove the cache of what was published."""
        shutil.rmtree(self.folders.cache, ignore_errors=True)

    @property
    def _pairs(self) -> list[tuple[str, str]]:
        """Benchmark and decoding of every file."""
        return list(itertools.product(self.study.benchmarks, self.study.evaluation.decoding))

    @cached_property
    def _settings(self) -> str:
        """What decides records and scores besides the inputs, as Snakemake compares it between runs."""
        return digest(stages.evaluate(self.study, self.method), f"scores of version {score_files.VERSION}")

    @cached_property
    def _folder(self) -> Path:
        """Of this very evaluation, in the cache."""
        return self.folders.cache / self._key()

    @cached_property
    def _files(self) -> dict[tuple[str, str], Path]:
        return {pair: record_file(self._folder, *pair) for pair in self._pairs}

    @cached_property
    def _all_questions(self) -> dict[str, list[Question]]:
        return {name: read_questions(questions_file(self._read.questions, name)) for name in self.study.benchmarks}

    @cached_property
    def _questions_of(self) -> dict[str, list[Question]]:
        """Those that the limit leaves, by benchmark."""
        return {name: _limited(questions, self.limit) for name, questions in self._all_questions.items()}

    @cached_property
    def _warnings(self) -> list[str]:
        texts = {name: [question.question for question in limited] for name, limited in self._questions_of.items()}
        return doubts(self.study, self.model, self.inputs["policy"], texts)

    @contextlib.contextmanager
    def _timed(self) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds += time.monotonic() - started

    def _publish_files(self) -> None:
        out = self.folders.out
        out.mkdir(parents=True, exist_ok=True)
        # What it says is no longer true of all files from here on.
        (out / RUN_FILE).unlink(missing_ok=True)
        for (benchmark, decoding), path in self._files.items():
            for source in (path, score_file(path.parent, benchmark, decoding)):
                publish_link(source, out / source.name)

    def _key(self) -> str:
        """Digest of everything that decides records and scores, so that no file of another run is taken for this
        one's."""
        study, method = self.study, self.method
        described = [
            digest(study.protocol, study.retrieval, study.methods[method], self.model, method, self.seed),
            digest(study.name),
        ]
        described += [digest(name, decoding) for name, decoding in study.evaluation.decoding.items()]
        described += [digest(study.models[self.model]), str(study.evaluation.concurrency)]
        described += [digest(study.evaluation.generator)]
        described += [digest({name: benchmark.yes_no_rule for name, benchmark in study.benchmarks.items()})]
        described += [f"{name} {content_hash(path)}" for name, path in self.inputs.items()]
        described += [f"scores of version {score_files.VERSION}"]
        described += [] if self.limit is None else [f"limit {self.limit}"]
        return hashlib.sha256("\n".join(described).encode()).hexdigest()[:16]


def _inputs(study: Study, method: str, read: EvaluationInputs) -> dict[str, Path]:
    """What decides the records besides the settings, by name."""
    from mrsearch.retrieval.engine import described_by

    inputs = {"policy": read.policy}
    inputs |= {f"questions/{benchmark}": questions_file(read.questions, benchmark) for benchmark in study.benchmarks}
    return inputs | (described_by(study, read.corpus, read.indexes) if study.methods[method].searches else {})


def _limited(questions: Sequence[Question], limit: int | None) -> list[Question]:
    return list(questions) if limit is None else sorted(questions, key=lambda question: hashed_id(question.id))[:limit]


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


def _is_made(records: Path, benchmark: str, decoding: str, count: int) -> bool:
    """Whether records, their scores and what they cost were made before, sealed."""
    sealed = is_sealed(records, count) and is_sealed(score_file(records.parent, benchmark, decoding), count)
    return sealed and isinstance(read_json(cost_file(records)), dict)


def _forget_others(cache: Path, key: str) -> None:
    for entry in cache.glob("*"):
        if entry.name != key:
            shutil.rmtree(entry)
